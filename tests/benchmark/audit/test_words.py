"""The findings of an audit in sentences."""

from types import SimpleNamespace

import pandas as pd
import pytest

from gradinv.benchmark.audit import words
from gradinv.benchmark.audit.findings import DefenseFinding
from gradinv.metrics.boards import BoardLine


def line(key, gain):
    cell = SimpleNamespace(key=key, adaptive=False, batch_size=1)
    row = {"psnr_mean": 20.0, "psnr_gain_mean": gain, "leaks": "", "from_gradient": "", "from_statistics": ""}
    return BoardLine(cell, row, trials=())


def labels(**shares):
    """A board of label inference at batch size 1, a rule a share with its lower bound, by defense."""
    rows = [
        {"defense": defense, "batch_size": 1, "rule": rule, "accuracy_mean": mean, "accuracy_low": low,
         "accuracy_high": 1.0, "chance": 0.1}
        for defense, rules in shares.items()
        for rule, (mean, low) in rules.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["defense", "batch_size", "rule", "accuracy_mean", "accuracy_low",
                                       "accuracy_high", "chance"])  # fmt: skip


@pytest.mark.parametrize(
    ("defended", "said"),
    [
        ((0.9, 0.8), "Labels of 1 image still leak (llg: 90.0 % [80.0, 100.0])."),
        ((0.3, 0.02), "Labels of 1 image are found no better than by guessing (sign: 20.0 % [5.0, 100.0])."),
    ],
)
def test_a_defense_is_said_to_stop_labels_only_where_the_best_rule_guesses(defended, said):
    board = labels(none={"sign": (1.0, 0.9)}, noise={"sign": (0.2, 0.05), "llg": defended})
    assert words.labels_under("noise", board) == said
    assert words.labels_under("absent", board) == "What it does to labels could not be measured."


def test_an_attack_whose_controls_were_not_run_is_not_the_one_that_shows_most():
    uncontrolled, controlled = line("idlg", None), line("dlg", 3.0)
    for lines in ((uncontrolled, controlled), (controlled, uncontrolled)):
        assert words._row(DefenseFinding("none", lines), labels()).strongest == "dlg: 20.0 dB, its best control 17.0 dB"
    assert words._row(DefenseFinding("none", (uncontrolled,)), labels()).strongest == "idlg"


def test_what_leaks_from_one_of_two_sources_is_said_so():
    told = line("dlg", 3.0)
    told.row.update(leaks="pixels+identity", from_gradient="pixels", from_statistics="none")
    finding = DefenseFinding("none", (told,))
    assert finding.leaks == ("pixels", "identity")
    assert "identity leaks from the update or the batch-norm statistics, and it is not shown which" in words.what_leaks(
        finding
    )
    assert words._row(finding, labels()).leaks == {"pixels": "update", "structure": "not shown", "identity": "either"}
