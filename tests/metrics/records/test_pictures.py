"""Pictures beside a record: what is none of the trial's pictures is left out, whoever wrote the file."""

import os

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from gradinv.metrics.records.pictures import Pictures, read_tensors

GOOD = np.zeros((2, 3, 4, 4), dtype=np.uint8)


def test_pictures_come_back(tmp_path):
    snapshots = np.zeros((5, *GOOD.shape), dtype=np.uint8)
    save_file({"original": GOOD, "snapshots": snapshots}, tmp_path / "a.safetensors")
    assert {name: tensor.shape for name, tensor in read_tensors(tmp_path / "a.safetensors").items()} == {
        "original": GOOD.shape, "snapshots": snapshots.shape
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("reconstruction", np.zeros(3, dtype=np.uint8)),
        ("reconstruction", np.zeros((3, 4, 4), dtype=np.uint8)),
        ("reconstruction", np.zeros((), dtype=np.uint8)),
        ("reconstruction", np.zeros((2, 3, 4, 4), dtype=np.float32)),
        ("reconstruction", np.zeros((2, 7, 4, 4), dtype=np.uint8)),
        ("reconstruction", np.zeros((0, 3, 4, 4), dtype=np.uint8)),
        ("snapshots", GOOD),
        ("original", np.zeros((5, *GOOD.shape), dtype=np.uint8)),
    ],
)
def test_tensors_of_another_rank_or_type_are_left_out(tmp_path, make_record, name, tensor):
    record = make_record("dlg", 0, (1.0, 1.0))
    path = tmp_path / "trials" / record.id / "tensors.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"final": GOOD, name: tensor}, path)
    assert set(read_tensors(path)) == {"final"}
    pictures = Pictures([tmp_path])
    assert pictures.get(record, name, 0) is None or name == "final"
    assert pictures.snapshots(record, 0) == []


def test_files_that_hold_no_pictures_hold_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "text").write_bytes(b"no tensors")
    save_torch({"original": torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16)}, tmp_path / "bfloat16")
    assert [read_tensors(tmp_path / name) for name in ("pipe", "loop", "text", "bfloat16", "", "missing")] == [{}] * 6
