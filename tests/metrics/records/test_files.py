"""Files are written whole or not at all."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from gradinv.metrics.records.files import write_csv, write_tensors, write_text, write_whole


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
