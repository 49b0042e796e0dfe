"""`gradinv check BOARD.csv`: what `gradinv run` makes passes, also against its records; what was edited does not."""

import shutil

import pytest
from rich.console import Console

from gradinv.benchmark.runs.plan import Planner, hash_of
from gradinv.benchmark.runs.runner import RunOptions, run_plan
from gradinv.benchmark.runs.suite import load_suite
from gradinv.metrics.records.layout import RunDirectory

CONTROLS = ["other_gradient", "mean_image"]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, tools):
    """A run of eight batches with controls."""
    folder = tmp_path_factory.mktemp("board")
    suite = load_suite(tools.make_suite(folder / "suite.yaml", controls=CONTROLS, batches=8, image_size=16))
    plan = Planner(device="cpu", download=False).plan(suite, hash_of(suite))
    assert (
        run_plan(plan, RunOptions(RunDirectory(folder / "run"), jobs=1, figures=False), Console(quiet=True)).status == 0
    )
    return folder / "run"


@pytest.fixture
def board(finished_run, tmp_path):
    """Its board, published elsewhere."""
    for end in (".csv", ".images.csv"):
        shutil.copy(finished_run / f"leaderboard{end}", tmp_path / f"mine{end}")
    return tmp_path / "mine.csv"


def test_what_run_makes_passes(gradinv, board, finished_run):
    result = gradinv("check", board, "--runs", finished_run)
    assert (result.status, result.err) == (0, "")
    assert result.out == f"{board}: 1 attack row, 2 control rows, equal to its records; valid\n"


def test_an_edited_board_is_refused_in_one_line(gradinv, board, finished_run):
    text = board.read_text(encoding="utf-8")
    board.write_text(text.replace(",suite,photos,", ",paper,photos,", 1), encoding="utf-8")
    assert gradinv("check", board).status == 0, "only the records know"
    result = gradinv("check", board, "--runs", finished_run)
    assert (result.status, result.out) == (2, "")
    assert result.err == f"gradinv: {board}:2: dlg (B=1): tuning is 'paper', of the records 'suite'\n"


def test_wrong_requests_are_one_line(gradinv, board, write_suite, tmp_path):
    for arguments, message in (
        ([tmp_path / "missing.csv"], "cannot be read"),
        ([board.with_suffix(".images.csv")], "is no board of attacks: it has no column 'attack'"),
        ([write_suite(), "--runs", tmp_path], "--runs is for a board"),
        ([board, "--runs", tmp_path], "holds no trials"),
    ):
        result = gradinv("check", *arguments)
        assert (result.status, result.out) == (2, "")
        assert message in result.err
        assert result.err.count("\n") == 1


def test_rows_that_were_run_again_are_compared_alone(gradinv, board, finished_run):
    result = gradinv("check", board, "--runs", finished_run, "--attack", "d*", "--batch-size", 1)
    assert (result.status, result.err) == (0, "")
    said = "dlg (B=1): 8 of its 8 batches run again; the same values; the same verdict"
    assert result.out.startswith(f"{board}:2: {said}")
    assert result.out.count("\n") == 1
    for arguments, message in (
        (["--runs", finished_run, "--attack", "idlg"], "no row passes these filters; its attacks are dlg"),
        (["--attack", "dlg"], "give --runs DIR"),
    ):
        result = gradinv("check", board, *arguments)
        assert (result.status, result.out) == (2, "")
        assert message in result.err


def test_a_review_is_one_screen(gradinv, board):
    result = gradinv("check", board, "--review")
    assert (result.status, result.err) == (0, "")
    assert "budget 5" in result.out
    assert "accuracy of the victim: not measured" in result.out
    assert max(map(len, result.out.splitlines()[1:])) <= 80
