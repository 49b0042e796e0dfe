"""An engineer audits a network and a folder of images: from one command to a page that says what leaks."""

import csv
import re
from html import unescape
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
MODEL = re.search(r"^```python\n# my_model.py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]
SHOWN = re.search(r"^gradinv (audit .*)$", PAGE, re.MULTILINE)[1].split()
AUDIT = ["audit", "--model", "my_model.py:build", "--data", "images", "--device", "cpu"]
FEW = ["--minutes", "5", "--attack", "ratio", "--attack", "april", "--budget", "9", "--rounds", "3", "--batches", "4"]
FEW += ["--defense", "gaussian_noise[sigma=1.0]", "--jobs", "1", "--device", "cpu"]
COMMANDS = {
    "audit": [*SHOWN, *FEW],
    "again": [*SHOWN, *FEW],
    "no function": ["audit", "--model", "my_model.py:bild", "--data", "images", "--out", "a"],
    "no file": ["audit", "--model", "nothing.py:build", "--data", "images", "--out", "a"],
    "no images": ["audit", "--model", "my_model.py:build", "--data", "nothing", "--out", "a"],
    "no time": [*AUDIT, "--minutes", "0.01", "--out", "a"],
    "no such attack": [*AUDIT, "--attack", "idgl", "--out", "a"],
    "another": [*AUDIT, *FEW, "--batches", "3", "--out", "audit"],
}
PREPARE = """
import numpy as np
from PIL import Image
import gradinv.benchmark.audit.carrying_out
from gradinv.benchmark.datasets import create_dataset

photos = create_dataset("photos", 12)
for role in ("train", "tuning", "evaluation"):
    split = photos.split(role)
    for place in range(0, len(split), len(split) // 64):
        folder = f"images/{photos.classes[split.labels[place]]}"
        os.makedirs(folder, exist_ok=True)
        Image.fromarray(split.pixels([place])[0]).save(f"{folder}/{role}{place}.png")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_in_forks):
    """Where all commands have run: NAME.out, NAME.err and NAME.status."""
    path = tmp_path_factory.mktemp("audit")
    (path / "my_model.py").write_text(MODEL, encoding="utf-8")
    run_in_forks(path, COMMANDS, PREPARE)
    return path


def read(folder, name):
    return (folder / name).read_text(encoding="utf-8")


def test_it_says_what_leaks_and_what_stops_it(folder):
    assert read(folder, "audit.status").strip() == "0", read(folder, "audit.err")
    said = read(folder, "audit.out")
    assert re.search(r"Without a defense: .*pixels.* from the update \(ratio: ", said)
    assert re.search(r"Labels of 1 image leak: \w+, the best of \d+ rules", said)
    assert "gaussian_noise[sigma=1.0]: stops pixels" in said
    assert re.search(
        r"gaussian_noise.*Labels of 1 image (still leak|are found no better than by guessing) \(\w+: ", said
    )
    assert re.search(r"Price: accuracy \d+\.\d % \[.*\] after a short federated training, \d+\.\d %", said)
    assert "No attack that succeeds is no proof of safety" in said
    assert "april was not possible here: " in said


def test_the_sentences_are_those_of_the_board(folder):
    with (folder / "audit" / "report" / "board" / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["defense"]: row for row in csv.DictReader(file) if row["is_control"] == "false"}
    assert "pixels" in rows["none"]["from_gradient"].split("+")
    assert rows["gaussian_noise[sigma=1.0]"]["leaks"] == "none"
    assert f"{float(rows['none']['psnr_mean']):.1f} dB" in read(folder, "audit.out")


def test_labels_are_inferred_under_each_defense(folder):
    with (folder / "audit" / "labels" / "defended.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["defense"]: row["n_batches"] for row in rows if row["accuracy_mean"]} == {
        "none": "50", "gaussian_noise[sigma=1.0]": "16"
    }  # fmt: skip


def test_the_page_says_the_same_with_pictures(folder):
    page = unescape(read(folder, "audit/report/index.html"))
    said = read(folder, "audit.out").split("\n\n")
    assert all(line in page for part in said[:3] for line in part.splitlines()[1:])
    pictures = re.findall(r'src="(pictures/\w+\.png)"', page)
    assert pictures
    assert all((folder / "audit" / "report" / picture).is_file() for picture in pictures)


def test_the_same_command_goes_on_and_runs_nothing_twice(folder):
    assert read(folder, "again.status").strip() == "0"
    assert read(folder, "again.out") == read(folder, "audit.out")
    assert "[1/" not in read(folder, "again.err")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("audit", "again")])
def test_a_wrong_request_is_one_line(folder, name):
    assert read(folder, f"{name}.status").strip() == "2"
    error = read(folder, f"{name}.err")
    assert len(error.strip().splitlines()) == 1, error
    assert "Traceback" not in error
    assert not (folder / "a").exists()
