"""The terminal table fits the terminal and says in words what the numbers mean."""

import io

import pytest
from rich.console import Console

from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.boards.lines import lines_by_setting
from gradinv.metrics.boards.terminal import print_leaderboard


def printed(records, width=110):
    """What `print_leaderboard` writes on a terminal of that width."""
    console = Console(file=io.StringIO(), width=width)
    print_leaderboard(lines_by_setting(records, leaderboard(records)), console)
    return console.file.getvalue()


def line_of(text, start):
    """The first line that begins so, leading blanks included."""
    return next(line for line in text.splitlines() if line.startswith(start))


def test_attacks_carry_values_and_verdicts(records):
    text = printed(records)
    assert line_of(text, "dlg ").split()[:4] == ["dlg", "3", "22.5", "[21.3,"]
    assert "100 % 10.5 [9.3, 11.7] mean_image" in line_of(text, "dlg ")
    assert line_of(text, "dlg ").rstrip().endswith("pixels leak")
    assert "no better" in line_of(text, "idlg ")
    assert "1 diverged" in text


def test_controls_are_indented_beneath_their_attack(records):
    lines = printed(records).splitlines()
    dlg = next(index for index, line in enumerate(lines) if line.startswith("dlg "))
    assert lines[dlg + 1].startswith("  other_gradient")
    assert any(line.startswith("  mean_image") for line in lines)


def test_a_skipped_cell_is_one_line_with_its_reason(records):
    text = printed(records)
    assert line_of(text, "idlg.bn:") == "idlg.bn: skipped: idlg.bn needs batch-norm statistics, none are granted"


def test_the_legend_says_what_leaks_means(records):
    text = " ".join(printed(records).split())
    assert "leak where the attack beats every control in them" in text


def test_one_batch_gives_no_verdict(make_record):
    control = make_record("mean_image", 0, (5.0,), is_control=True, order=1)
    assert "too few batches" in " ".join(printed([make_record("dlg", 0, (9.0,)), control]).split())


def test_settings_stand_apart_and_their_titles_differ(records, make_record):
    reseeded = [make_record("dlg", r, (9.0,), victim_seed=3, order=90 + r) for r in range(2)]
    text = printed([*records, *reseeded])
    assert "lenet_dlg (untrained) · photos 16 px · no defense · batch size 2 · victim_seed 3" in text
    assert "no control to compare" in text


def test_a_precision_is_named_where_it_is_not_float32(records, make_record):
    coarse = [make_record("dlg", r, (9.0,), precision="bf16", order=90 + r) for r in range(2)]
    headings = [line.rstrip() for line in printed([*records, *coarse]).splitlines() if "photos 16 px" in line]
    usual = "lenet_dlg (untrained) · photos 16 px · no defense · batch size 2"
    assert headings == [usual, f"{usual} · precision bf16"]
    assert f"{usual} · precision bf16" in printed(coarse)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_longer_than_the_terminal(make_record, records, width):
    long = [make_record("gradinversion", r, (9.0,), parameters="[alpha_bn=0.01,alpha_tv=0.0001,lr=0.1]", order=60 + r)
            for r in range(3)]  # fmt: skip
    assert max(map(len, printed([*records, *long], width).splitlines())) <= width


def test_an_empty_board_prints_nothing():
    assert printed([]) == ""
