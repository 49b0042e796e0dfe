"""The board of label inference says what the single batches say: checked against SciPy and hand-written numbers."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from gradinv.metrics.boards.label_table import (
    LABEL_BATCH_COLUMNS,
    LABEL_COLUMNS,
    LabelCell,
    label_batches,
    label_board,
    write_label_boards,
)
from gradinv.metrics.boards.label_terminal import print_label_board

BOARDS = Path(__file__).parents[3] / "leaderboards"
SHARES = (1.0, 0.5, 0.75, 1.0)


@pytest.fixture
def make_cell():
    """Makes a cell; every field can be set."""

    def make(rule="min", batch_size=4, accuracies=SHARES, **fields):
        defaults = {
            "dataset": "tiny",
            "image_size": 32,
            "victim": "resnet18",
            "victim_state": "untrained",
            "victim_seed": 0,
            "victim_accuracy": None,
            "zero_gradient_share": 0.0,
            "num_classes": 200,
            "data_hash": "d",
            "weights_hash": "w",
            "device": "cpu",
            "versions": "gradinv 0.1, torch 2",
            "date": "2025-01-02",
        }
        return LabelCell(rule=rule, batch_size=batch_size, accuracies=accuracies, **(defaults | fields))

    return make


@pytest.fixture
def cells(make_cell):
    """Two rules against two victims at two sizes."""
    trained = {"victim": "resnet18[epochs=3]", "victim_state": "trained", "victim_accuracy": 0.3}
    return [
        make_cell(rule, size, SHARES if rule == "min" else SHARES[::-1], **victim)
        for victim in ({}, trained)
        for rule, size in (("sum", 4), ("sum", 8), ("min", 4), ("min", 8))
    ]


def test_columns_are_the_documented_ones(cells):
    assert list(label_board(cells).columns) == list(LABEL_COLUMNS)
    assert list(label_batches(cells).columns) == list(LABEL_BATCH_COLUMNS)
    assert not set(LABEL_BATCH_COLUMNS) - {"batch", "accuracy"} - set(LABEL_COLUMNS)


def test_published_boards_have_the_columns_and_no_contradiction():
    boards = sorted(BOARDS.glob("labels-*.csv"))
    assert boards
    for path in boards:
        board = pd.read_csv(path)
        # `update` came later.
        assert [name for name in LABEL_COLUMNS if name in board or name != "update"] == list(board.columns)
        skipped = board["n_batches"] == 0
        assert board[skipped]["notes"].astype(str).str.startswith("skipped: ").all()
        board = board[~skipped]
        assert (board["n_batches"] >= 1_000).all()
        for part in ("accuracy", "all_correct"):
            assert board[[f"{part}_{bound}" for bound in ("mean", "low", "high")]].stack().between(0, 1).all()
        board = board[board["max_equal_labels"] == 1]
        assert ((board["accuracy_low"] <= board["accuracy_mean"]) & (board["all_correct_low"] < 1)).all()
        assert (board["all_correct_mean"] <= board["accuracy_mean"] + 1e-12).all()
        assert np.allclose(board["chance"], board["batch_size"] / board["num_classes"])


def test_means_and_intervals_over_batches(make_cell):
    row = label_board([make_cell()]).iloc[0]
    # Korn and Graubard 1998, written out: an exact interval of a share, of as many trials as the spread is worth.
    worth = 4 * 0.8125 * 0.1875 / np.var(SHARES, ddof=1) * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) ** 2
    low = stats.beta.ppf(0.025, worth * 0.8125, worth * 0.1875 + 1)
    high = stats.beta.ppf(0.975, worth * 0.8125 + 1, worth * 0.1875)
    assert (row["accuracy_mean"], row["n_batches"], row["chance"]) == (0.8125, 4, 0.02)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((low, high))
    assert row["all_correct_mean"] == 0.5
    assert (row["all_correct_low"], row["all_correct_high"]) == pytest.approx((0.06758599, 0.93241401))
    assert (row["bn_mode"], row["max_equal_labels"], row["schema"]) == ("eval", 1, 2)


def test_a_share_never_leaves_0_and_1(make_cell):
    row = label_board([make_cell(accuracies=(1.0, 1.0, 0.5))]).iloc[0]
    assert 0 <= row["accuracy_low"] < row["accuracy_mean"] < row["accuracy_high"] <= 1
    assert 0 <= label_board([make_cell(accuracies=(0.0, 0.1, 0.0))]).iloc[0]["accuracy_low"] < 0.001


def test_a_skipped_rule_is_a_row_with_its_reason_and_without_numbers(make_cell):
    cells = [make_cell("sign", accuracies=(), skipped="for one image"), make_cell(max_equal_labels=8, client_classes=4)]
    skipped, repeated = (row for _, row in label_board(cells).iterrows())
    assert (skipped["n_batches"], skipped["notes"]) == (0, "skipped: for one image")
    assert pd.isna(skipped[["accuracy_mean", "all_correct_low", "n_unanswered"]]).all()
    assert (repeated["client_classes"], repeated["n_unanswered"]) == (4, 0)
    assert pd.isna(repeated["chance"])
    text = io.StringIO()
    print_label_board(label_board(cells), Console(file=text, width=160))
    assert "sign (B = 4): skipped: for one image" in text.getvalue()
    assert "labels up to 8 equal, of 4 classes" in text.getvalue()


def test_one_batch_has_no_interval_of_its_mean(make_cell):
    row = label_board([make_cell(accuracies=(0.5,))]).iloc[0]
    assert (row["accuracy_mean"], row["all_correct_mean"]) == (0.5, 0.0)
    assert math.isnan(row["accuracy_low"])


def test_the_table_of_batches_gives_the_means_back(cells):
    batches, board = label_batches(cells), label_board(cells)
    assert list(batches["batch"]) == list(range(4)) * len(cells)
    keys = ["rule", "victim", "victim_state", "victim_seed", "batch_size"]
    means = batches.groupby(keys)["accuracy"].mean()
    assert [means[tuple(row[key] for key in keys)] for _, row in board.iterrows()] == list(board["accuracy_mean"])


def test_files_hold_raw_numbers_in_full_precision_and_come_out_the_same(tmp_path, make_cell):
    cells = [make_cell(accuracies=(1 / 3, 2 / 3, 1.0))]
    first = write_label_boards(cells, tmp_path / "a")
    second = write_label_boards(cells, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["labels.batches.csv", "labels.csv"]
    row = next(csv.DictReader(io.StringIO(first[0].read_text(encoding="utf-8"))))
    assert float(row["accuracy_mean"]) == np.mean([1 / 3, 2 / 3, 1.0])
    assert (row["victim_accuracy"], row["versions"]) == ("", "gradinv 0.1, torch 2")


def test_the_table_shows_the_board(cells, make_cell):
    text = io.StringIO()
    print_label_board(label_board([*cells, make_cell(accuracies=(0.5,))]), Console(file=text, width=160))
    lines = text.getvalue().splitlines()
    assert len(lines) == 2 * 2 + len(cells) + 1
    assert (lines[0], lines[2].split()[:3]) == ("resnet18 (untrained), labels distinct", ["sum", "4", "4"])
    assert "resnet18[epochs=3] (trained), labels distinct" in lines
    assert "50.00 [6.76, 93.24]" in lines[2]
    assert "81.25 [" in lines[2]
    assert "50.00 0.00 [0.00, 97.50]" in " ".join(text.getvalue().split())
