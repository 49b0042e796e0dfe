"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gradinv.metrics.records.files import (
    PathError,
    fault_in_words,
    read_file,
    require_file,
    require_folder,
    short_name,
    write_csv,
    write_tensors,
    write_text,
    write_whole,
)


def test_a_file_and_its_folders_are_made_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    assert write_text(path, "x\r\ny\n") == path
    assert path.read_bytes() == b"x\r\ny\n"
    assert [file.name for file in path.parent.iterdir()] == ["c.txt"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def broken(file: Path) -> None:
        file.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, broken)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_two_writers_at_once_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "a.txt"

    def outer(file: Path) -> None:
        write_text(path, "inner")
        file.write_text("outer")

    write_whole(path, outer)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "outer")]


def test_tables_are_written_in_full_precision(tmp_path):
    path = write_csv(pd.DataFrame({"a": [0.1 + 0.2, None]}), tmp_path / "a.csv")
    assert path.read_bytes() == b'a\n0.30000000000000004\n""\n'


def test_tensors_may_share_memory_and_be_views(tmp_path):
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {"all": base, "row": base[1], "turned": base.transpose(0, 2), "leaf": base.clone().requires_grad_()}
    path = write_tensors(tmp_path / "victims" / "a.safetensors", tensors)
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_a_name_that_leaves_no_room_for_a_temporary_one_is_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    assert write_text(path, "x").read_text() == "x"


def test_a_full_disk_is_an_oserror_of_the_file_for_tensors_too(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    assert caught.value.errno == errno.ENOSPC
    assert fault_in_words(caught.value) == f"{tmp_path / 'a.safetensors'}: No space left on device"


def below_a_file(folder, monkeypatch):
    (folder / "file").touch()
    return folder / "file" / "run"


def a_file(folder, monkeypatch):
    (folder / "file").touch()
    return folder / "file"


def too_long(folder, monkeypatch):
    return folder / ("x" * 300)


def read_only(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root, who runs tests, may write anywhere
    return folder / "new"


def link_to_itself(folder, monkeypatch):
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop" / "run"


@pytest.mark.parametrize("place", [below_a_file, a_file, too_long, read_only, link_to_itself])
def test_places_that_no_folder_can_be_made_at_are_refused_in_one_line(tmp_path, monkeypatch, place):
    path = place(tmp_path, monkeypatch)
    with pytest.raises(PathError) as caught:
        require_folder(path, "--out")
    assert str(caught.value).startswith(f"--out {path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [below_a_file, too_long, read_only, link_to_itself, lambda folder, _: folder])
def test_places_that_no_file_can_be_written_at_are_refused_in_one_line(tmp_path, monkeypatch, place):
    with pytest.raises(PathError, match="--csv"):
        require_file(place(tmp_path, monkeypatch), "--csv")


def test_places_that_can_be_written_pass(tmp_path):
    require_folder(tmp_path / "new" / "folder", "--out")
    require_file(a_file(tmp_path, None), "--csv")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 150, "x" * 160 + "a", "x" * 160 + "b"])
def test_names_that_are_too_long_are_shortened_to_one_of_their_own(tmp_path, name):
    assert len(short_name(name).encode()) <= 160
    assert short_name(name) != short_name(name + "a")
    (tmp_path / short_name(name)).touch()


def test_only_regular_files_of_reasonable_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "large").write_bytes(b"12345")
    for name in ("pipe", "loop", "large", "", "missing"):
        with pytest.raises(OSError, match=r".+"):
            read_file(tmp_path / name, largest=4)
    assert read_file(tmp_path / "large") == b"12345"
