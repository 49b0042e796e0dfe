"""The attack that docs/new-attack.md shows: its file runs, gets its row, its comparison, its figures."""

import csv
import re
import shlex
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "new-attack.md"
FAST = ["--set", "budget=5", "--jobs", "1", "--device", "cpu", "--no-figures"]


@pytest.fixture
def section() -> str:
    """What the page shows before it goes on to a paper."""
    return PAGE.read_text(encoding="utf-8").partition("\n## ")[0]


def blocks(section: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [text for word, text in fenced if word == language]


def test_the_attack_of_the_page_from_file_to_verdict_and_figure(gradinv, section, tmp_path, monkeypatch):
    (source,) = blocks(section, "python")
    assert len(source.strip().splitlines()) < 30
    (tmp_path / "my_attack.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line) for line in blocks(section, "")[0].replace("\\\n", " ").splitlines()]
    assert [command[:2] for command in commands] == [["gradinv", verb] for verb in ("run", "compare", "plot")]
    run, compare, plot = (gradinv(*command[1:], *(FAST if command[1] == "run" else [])) for command in commands)
    for result in (run, compare, plot):
        assert result.status == 0, result.err

    with open("runs/mine/leaderboard.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = next(row for row in rows if row["attack"] == "my_attack")
    controls = {row["attack"] for row in rows if row["preset"] in ("", "my_attack") and row["is_control"] == "true"}
    assert (mine["n_batches"], mine["works"] in ("true", "false")) == ("8", True)
    assert controls == {"other_gradient", "noise_gradient", "prior_only", "same_class", "mean_image"}
    verdicts = [line for line in compare.out.splitlines() if line.startswith("my_attack against inverting_gradients: ")]
    assert len(verdicts) == 1
    assert "no verdict" not in verdicts[0]
    drawn = [path for path in plot.out.split() if path.endswith(".png") and Path(path).is_file()]
    for kind in ("quality", "recovery", "objective", "images"):
        assert any(f"/{kind}-" in f"/{Path(path).relative_to('runs/mine/figures')}" for path in drawn), kind
