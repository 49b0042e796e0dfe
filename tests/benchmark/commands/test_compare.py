"""`gradinv compare` from end to end: real trials, broken records and boards."""

import csv
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

RECORD = Path(__file__).parents[2] / "metrics" / "records" / "fixtures" / "record-v1.json"
PUBLISHED = Path(__file__).parents[3] / "leaderboards" / "cifar10-identity.images.csv"
PLANTED = '''
"""Inverting Gradients from other seeds."""
from gradinv.attacks.inverting_gradients import GEIPING_2020, InvertingGradients
from gradinv.attacks.registry import register_attack

@register_attack("planted", paper=GEIPING_2020)
class Planted(InvertingGradients):
    """Inverting Gradients from other seeds."""

    packs_trials = False

    def reconstruct(self, leak, victim, *, seed, budget=None):
        return super().reconstruct(leak, victim, seed=seed + 100, budget=budget)
'''


def write_records(directory: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A run directory; each row changes the fixture's record: its PSNR, its cell, its batch."""
    template = json.loads(RECORD.read_text(encoding="utf-8"))
    for row in rows:
        batch, key = row["batch"], row["attack"]
        cell = template["cell"] | {"attack": key, "batch_size": 1} | row.get("cell", {})
        name = f"{key}-{batch}-{abs(hash(json.dumps(cell))):x}"
        image = template["images"][0] | {"image": f"{batch:016x}", "metrics": {"psnr": row["psnr"], "gmsd": 0.2}}
        # Without a specification, as only a record that was made by hand: no trial has this id.
        changes = {"id": name, "cell": cell, "repetition": batch, "images": [image], "spec": {}}
        folder = directory / "trials" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(template | changes, indent=1), encoding="utf-8")
    return directory


def rows(attack: str, level: float, batches: int = 10, seed: int = 0, **cell: Any) -> list[dict[str, Any]]:
    draw = random.Random(f"{attack} {seed}")
    return [{"attack": attack, "batch": batch, "psnr": draw.gauss(level, 1), "cell": cell} for batch in range(batches)]


@pytest.fixture
def compare(gradinv, tmp_path) -> Callable[..., Any]:
    """`gradinv compare DIRECTORY --attack mine --against dlg`."""

    def run(*arguments: object, runs: Iterable[Path] = (tmp_path / "run",)) -> Any:
        return gradinv("compare", *runs, "--attack", "mine", "--against", "dlg", *arguments)

    return run


@pytest.fixture
def directory(tmp_path) -> Path:
    """Ten batches of `mine`, 5 dB better than `dlg`."""
    return write_records(tmp_path / "run", rows("mine", 20) + rows("dlg", 15))


def test_four_times_the_budget_is_better_and_another_seed_is_not(run_suite, write_suite, gradinv, tmp_path):
    plugin = tmp_path / "planted.py"
    plugin.write_text(PLANTED, encoding="utf-8")
    suite = write_suite(attacks=["inverting_gradients"], batches=8, budget=20, controls=["mean_image"])
    named = ["--plugin", plugin, "--attack", "planted"]
    runs = [tmp_path / name for name in ("base", "again", "more")]
    assert run_suite(suite, out=runs[0]).status == 0
    assert run_suite(suite, *named, out=runs[1]).status == 0
    assert run_suite(suite, *named, "--set", "budget=80", out=runs[2]).status == 0
    between = ["--attack", "planted", "--against", "inverting_gradients"]

    equal = gradinv("compare", runs[0], runs[1], *between)
    assert "not distinguishable on PSNR, structure, identity (low pass) for this victim" in " ".join(equal.out.split())
    refused = gradinv("compare", runs[0], runs[2], *between)
    assert refused.status == 2
    assert "unequal budgets: planted had 80 evaluations, inverting_gradients 20" in refused.err
    better = gradinv("compare", runs[0], runs[2], *between, "--allow-unequal-budget")
    words = " ".join(better.out.split())
    assert "planted against inverting_gradients: better on " in words
    assert "structure by " in words
    assert "equal on label accuracy; unequal budgets: 80 against 20 evaluations; 8 batches" in words


def test_what_it_prints(compare, directory):
    result = compare()
    assert (result.status, result.err) == (0, "")
    for words in ("10 common batches, 10 common images", "attack mine: 5 evaluations", "PSNR", "optimality"):
        assert words in result.out
    assert "mine against dlg: better on PSNR by" in result.out
    assert "10 batches; but mine has no controls here to beat" in result.out


def test_the_csv_holds_raw_numbers(compare, directory, tmp_path):
    assert compare("--csv", tmp_path / "a" / "c.csv").status == 0
    table = list(csv.DictReader((tmp_path / "a" / "c.csv").open(encoding="utf-8")))
    assert [row["metric"] for row in table] == ["psnr", "gmsd", "label_accuracy"]
    assert (table[0]["outcome"], table[0]["n_batches"], table[0]["adaptive"]) == ("better", "10", "false")
    assert float(table[0]["gain"]) == pytest.approx(float(table[0]["attack_mean"]) - float(table[0]["baseline_mean"]))
    assert table[1]["p_adjusted"] == ""
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c.csv"]


def test_rows_granted_different_things_are_refused_by_name(compare, tmp_path):
    write_records(tmp_path / "run", rows("mine", 20, labels="none") + rows("dlg", 15))
    result = compare()
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        "gradinv: mine and dlg were never granted the same; the nearest rows differ in labels none against known\n"
    )


def test_no_verdict_below_eight_batches(compare, tmp_path):
    write_records(tmp_path / "run", rows("mine", 20, batches=7) + rows("dlg", 15))
    assert "no verdict: 7 common batches, 8 are the fewest that allow one" in compare().out


def test_three_victim_seeds_allow_a_claim_beyond_this_victim(compare, tmp_path):
    for seed in range(3):
        attacks = rows("mine", 20, 8, seed, victim_seed=seed) + rows("dlg", 15, 8, seed, victim_seed=seed)
        write_records(tmp_path / "run", attacks)
    text = compare().out
    assert "over 3 victim seeds; " in text
    assert "for this victim" not in text


def test_broken_records_are_named_and_the_rest_is_compared(compare, directory):
    folders = {folder.name.rpartition("-")[0]: folder / "record.json" for folder in (directory / "trials").iterdir()}
    text = folders["mine-0"].read_text(encoding="utf-8")
    folders["mine-0"].write_text(text[: len(text) // 2], encoding="utf-8")
    folders["dlg-1"].write_bytes(folders["dlg-2"].read_bytes())
    foreign = directory / "trials" / "foreign"
    foreign.mkdir()
    (foreign / "record.json").write_text('{"loss": 0.1}', encoding="utf-8")
    result = compare()
    assert result.status == 0
    for fault in ("is no valid JSON", "is the record of another trial", "is no record of gradinv"):
        assert fault in result.err
    assert result.err.count("\n") == 3
    assert "8 common batches" in result.out


def test_a_baseline_from_a_published_board(compare, gradinv, tmp_path):
    published = write_records(tmp_path / "theirs", rows("dlg", 15) + rows("idlg", 15))
    board = tmp_path / "board.images.csv"
    assert gradinv("leaderboard", published, "--csv", tmp_path / "board.csv").status == 0
    attack = write_records(tmp_path / "run", rows("mine", 20))
    from_board = compare("--board", board)
    assert "better on PSNR by" in from_board.out
    assert f"baseline dlg: 5 evaluations, 0.02 s a batch ({board})" in from_board.out
    by_table, by_records = (result.out.split() for result in (from_board, compare(runs=[attack, published])))
    numbers = slice(by_table.index("PSNR"), by_table.index("GMSD"))
    assert " ".join(by_table[numbers]) in " ".join(by_records)

    lines = board.read_text(encoding="utf-8").splitlines()
    board.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    edited = compare("--board", board)
    assert f"{board}:22: dlg: slot 0 of batch 0 stands in line 2 too; batch 0 of it is left out" in edited.err
    assert "9 common batches" in edited.out


def test_a_board_alone(gradinv):
    arguments = ["--attack", "inverting_gradients", "--against", "gradinversion.fidelity"]
    result = gradinv("compare", "--board", PUBLISHED, *arguments)
    assert result.status == 0
    assert "8 batches; inverting_gradients beats its controls; but gradinversion.fidelity does not beat" in result.out
    assert "not compared: inverting_gradients, resnet18 (untrained)" in result.err


def test_a_board_that_is_wrong_throughout_is_summed_up(compare, tmp_path):
    write_records(tmp_path / "run", rows("mine", 20) + rows("dlg", 15))
    lines = PUBLISHED.read_text(encoding="utf-8").splitlines()
    broken = tmp_path / "broken.images.csv"
    broken.write_text("\n".join([lines[0], *(f"{line},9" for line in lines[1:])]), encoding="utf-8")
    result = compare("--board", broken)
    assert result.status == 0
    assert result.err.count("\n") == 21
    assert "more faults" in result.err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--attack", "mine"], "nothing to compare: give run directories, or a board with --board"),
        (["RUN", "--attack", "mien", "--against", "dlg"], "unknown attack of these records 'mien'; did you mean mine?"),
        (["RUN", "--attack", "mine"], "unknown attack of these records 'gradinversion'"),
        (["RUN", "--attack", "mine", "--against", "mine"], "mine would be compared with itself"),
        (["RUN", "--attack", "mi ne", "--against", "dlg"], "'mi ne' is no key"),
        (["nowhere", "--attack", "mine"], "nowhere holds no trials"),
        (["RUN", "--attack", "mine", "--board", "nowhere.images.csv"], "nowhere.images.csv cannot be read"),
    ],
)
def test_wrong_requests_are_one_line(gradinv, directory, arguments, fault):
    result = gradinv("compare", *(directory if word == "RUN" else word for word in arguments))
    assert (result.status, result.out) == (2, "")
    assert fault in result.err
    assert result.err.count("\n") == 1
