"""A run made with a plug-in, moved to where the plug-in is not: every command knows it, each in a fresh process."""

import csv
import shutil

import pytest
import yaml

PLUGIN = '''
import math
import numpy as np
import torch
from helper_of_mine import RATE
from gradinv.attacks.dlg import DLG, ZHU_2019
from gradinv.attacks.registry import register_attack
from gradinv.benchmark.datasets import ArraySplit, Dataset, held_out_loaders, register_dataset
from gradinv.benchmark.defenses import Defense, register_defense
from gradinv.metrics.images import register_metric

@register_attack("mine", paper=ZHU_2019)
class Mine(DLG):
    """DLG from a distance."""

    def __init__(self, *, lr: float = RATE) -> None:
        super().__init__(lr=lr)

@register_defense("halved", paper=None)
class Halved(Defense):
    """Half of the update."""

    def on_update(self, update, generator):
        return {name: 0.5 * tensor for name, tensor in update.items()}

@register_metric("closeness", title="Closeness", direction="higher", low=0, cap=3.0, panel=True, unit="nats")
def closeness(reconstructions, originals):
    """Negative logarithm of the mean distance: infinite for an exact image, more than 3 counts as 3."""
    return 4 - (reconstructions - originals).abs().mean((1, 2, 3))

@register_dataset("blots")
def blots(image_size=None, download=False):
    """Noise in four classes."""
    size = image_size or 16
    def load():
        labels = np.repeat(np.arange(4), 20)
        return ArraySplit(np.random.RandomState(0).randint(0, 256, (80, size, size, 3)).astype(np.uint8), labels)
    return Dataset("blots", list("abcd"), size, held_out_loaders(load))
'''
SUITE = {
    "name": "mine",
    "dataset": "blots",
    "image_size": 16,
    "victims": [{"model": "lenet_dlg", "state": "untrained"}],
    "attacks": ["mine", "dlg"],
    "defenses": ["halved"],
    "controls": ["other_gradient", "mean_image"],
    "batches": 8,
    "budget": 2,
    "metrics": ["psnr", "ssim", "lpips_alex", "lpips_vgg", "gmsd", "fft2d", "closeness"],
}
READERS = {
    "status": ["status", "moved"],
    "plot": ["plot", "moved", "--out", "figures", "--kind", "quality"],
    "paper": [
        *("plot", "moved", "--out", "paper", "--kind", "quality", "--kind", "images", "--attack", "dlg"),
        *("--attack", "mine", "--names", "names.yaml", "--style", "mine.mplstyle", "--width", "column", "--no-titles"),
    ],
    "leaderboard": ["leaderboard", "moved", "--csv", "board.csv", "--latex", "board.tex", "--html", "site"],
    "columns": [
        *("leaderboard", "moved", "--latex", "paper.tex", "--column", "closeness", "--column", "psnr"),
        *("--names", "names.yaml"),
    ],
    "check": ["check", "moved/leaderboard.csv", "--runs", "moved"],
    "compare": ["compare", "moved", "--attack", "mine", "--against", "dlg"],
}
PREPARE = """
import gradinv.metrics.boards.leaderboard_table, gradinv.metrics.figures.all_figures, gradinv.benchmark.runs.rerun
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_in_forks):
    """Where the run was moved to, and every reader has written its output."""
    path = tmp_path_factory.mktemp("plugin")
    (path / "files").mkdir()
    (path / "files" / "my_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (path / "files" / "helper_of_mine.py").write_text("RATE = 1.0\n", encoding="utf-8")
    (path / "names.yaml").write_text("mine: My attack\ndlg: DLG\n", encoding="utf-8")
    (path / "mine.mplstyle").write_text("font.size: 7\n", encoding="utf-8")
    (path / "suite.yaml").write_text(yaml.safe_dump(SUITE), encoding="utf-8")
    run = ["run", "suite.yaml", "--plugin", "files/my_plugin.py", "--out", "run", "--jobs", "1", "--no-figures"]
    assert run_in_forks(path, {"run": [*run, "--device", "cpu"]}, PREPARE) == {"run": 0}, said(path, "run", "err")
    shutil.copytree(path / "run", path / "moved")
    shutil.rmtree(path / "run")
    shutil.rmtree(path / "files")
    # In forks of another process, which never saw the plug-in.
    ended = run_in_forks(path, READERS, PREPARE)
    assert ended == dict.fromkeys(READERS, 0), [said(path, name, "err") for name in READERS]
    return path


def said(folder, name, stream="out"):
    return (folder / f"{name}.{stream}").read_text(encoding="utf-8")


def test_the_run_remembers_its_file(folder):
    assert "40 done" in said(folder, "status")
    assert "my_plugin.py: no longer there" in said(folder, "status")


def test_the_board_is_built_from_the_records_alone(folder):
    assert (folder / "board.csv").read_text() == (folder / "moved" / "leaderboard.csv").read_text()
    with (folder / "board.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["closeness_mean"] for row in rows} == {"3.0"}  # as the cap says, which only the plug-in knew
    assert (folder / "site" / "index.html").is_file()
    assert any("Closeness" in page.read_text() for page in (folder / "site" / "rows").glob("*.html"))


def test_the_board_is_equal_to_its_records(folder):
    assert "equal to its records; valid" in said(folder, "check")


def test_its_figures_show_the_metric(folder):
    (table,) = (folder / "figures").glob("quality-*.csv")
    assert "closeness" in table.read_text()


def test_a_paper_has_its_names_its_order_and_its_columns(folder):
    (table,) = (folder / "paper").glob("quality-*.csv")
    assert table.read_text().index("\ndlg,") < table.read_text().index("\nmine,")
    assert table.with_suffix(".txt").read_text().startswith("How well")
    assert {path.suffix for path in (folder / "paper").glob("images-*")} == {".png", ".pdf", ".txt"}
    tables = (folder / "paper.tex").read_text()
    assert "My attack" in tables
    assert tables.index("Closeness") < tables.index("PSNR (dB)")


def test_its_metric_is_compared(folder):
    assert "mine against dlg: " in said(folder, "compare")
    assert "Closeness" in said(folder, "compare")
    assert "--plugin" not in (folder / "compare.err").read_text()
