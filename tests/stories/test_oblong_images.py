"""A folder of images that are 24 pixels high and 32 wide, from the command to boards, figures and pictures."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gradinv.benchmark.datasets import create_dataset
from gradinv.metrics.boards import read_frame
from gradinv.metrics.records import PictureFolder, Pictures, read_records

SIDES = (24, 32)
GROUP = "gradinversion[agents=2,alpha_bn=0.0,group_every=0.25,group_start=0.25]"
SUITE = {
    "name": "oblong",
    "dataset": "pets",
    "threat_model": {"labels": "known"},
    "batches": 1,
    "grids": [
        {"victims": [{"model": "lenet_dlg", "state": "untrained"}], "attacks": ["inverting_gradients", GROUP],
         "batch_sizes": [2], "budget": 24},
        {"victims": [{"model": "mlp_cpa", "state": "untrained"}], "attacks": ["ratio"],
         "image_size": [16, 24], "budget": 1},
    ],
}  # fmt: skip
COMMANDS = {
    "run": ["run", "suite.yaml", "--out", "run", "--jobs", "1", "--device", "cpu", "--no-figures"],
    "check": ["check", "run/leaderboard.csv", "--runs", "run"],
    "plot": ["plot", "run", "--out", "figures", "--kind", "images", "--attack", GROUP],
    "labels": [
        *("labels", "--model", "lenet_dlg", "--state", "untrained", "--dataset", "pets", "--image-size", "16x24"),
        *("--batches", "4", "--batch-size", "2", "--rule", "sign", "--device", "cpu", "--out", "labels"),
    ],
    "text": ["labels", "--model", "lenet_dlg", "--dataset", "pets", "--image-size", "16*24", "--out", "labels"],
}
PREPARE = """
import gradinv.metrics.boards.leaderboard_table, gradinv.metrics.figures.all_figures, gradinv.benchmark.runs.rerun
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_in_forks):
    """The data set, the run, and what was read from it, each in a process of its own."""
    path = tmp_path_factory.mktemp("oblong")
    photographs = create_dataset("photos", SIDES).split("evaluation")
    for label in range(4):
        place = path / "pets" / "test" / f"class{label}"
        place.mkdir(parents=True)
        for index in np.flatnonzero(photographs.labels == label)[:16].tolist():
            Image.fromarray(photographs.pixels([index])[0]).save(place / f"{index}.png")
    (path / "suite.yaml").write_text(yaml.safe_dump(SUITE), encoding="utf-8")
    ended = run_in_forks(path, COMMANDS, PREPARE)
    expected = dict.fromkeys(COMMANDS, 0) | {"check": 2, "text": 2}
    assert ended == expected, [(path / f"{name}.err").read_text() for name in COMMANDS]
    return path


@pytest.fixture(scope="module")
def board(folder):
    """The board's rows."""
    return read_frame(folder / "run" / "leaderboard.csv")


def test_the_size_stands_in_every_row_and_title(folder, board):
    assert set(board["image_size"]) == {"24x32", "16x24"}
    assert [path.name for path in (folder / "figures").glob("images-*-24x32px-B2-*.png")]
    assert set(read_frame(folder / "labels" / "labels.csv")["image_size"]) == {"16x24"}
    assert "image_size 16*24 is no number of pixels" in (folder / "text.err").read_text()


def test_the_board_has_no_fault_but_its_few_batches(folder):
    (fault,) = (folder / "check.err").read_text().splitlines()
    assert "no attack has 8 batches with its controls" in fault


def test_an_exact_attack_solves_for_them_and_its_controls_do_not(board):
    rows = board[board["victim"] == "mlp_cpa"].set_index("attack")["psnr_mean"]
    assert rows["ratio"] == 100.0  # the cap: an exact image
    assert rows.drop("ratio").max() < 40


def test_every_control_metric_and_the_group_were_measured(board):
    rows = board[board["image_size"] == "24x32"]
    assert set(rows["state"]) == {"done"}
    assert {"mean_image", "same_class", "other_gradient", "noise_gradient", "prior_only"} <= set(rows["attack"])
    measured = [f"{name}_mean" for name in ("psnr", "ssim", "structure", "gmsd", "fft2d", "identity_lowpass")]
    assert np.isfinite(rows[measured].to_numpy()).all()


def test_pictures_are_of_their_own_shape(folder):
    records, faults = read_records([folder / "run"])
    assert not faults
    aligned = next(record for record in records if record.cell.key == GROUP)
    pictures = Pictures([folder / "run"])
    for tensor in ("original", "reconstruction", "consensus"):
        assert pictures.get(aligned, tensor, 0).shape == (3, *SIDES)
    name = PictureFolder(pictures, folder / "pictures").picture(aligned, "original", 0)
    stored = torch.from_numpy(np.asarray(Image.open(folder / "pictures" / name)).copy())
    assert stored.shape == (*SIDES, 3)
    sources = [np.asarray(Image.open(path)) for path in (folder / "pets").rglob("*.png")]
    assert any(np.array_equal(stored, source) for source in sources)
