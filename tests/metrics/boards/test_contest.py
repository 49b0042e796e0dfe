"""Rows run again: what differs is said, a verdict that turns is told; what one batch decides is fragile."""

from pathlib import Path

import pytest

from gradinv.metrics.boards.check import check_board
from gradinv.metrics.boards.contest import contested
from gradinv.metrics.boards.leaderboard_table import write_board
from gradinv.metrics.boards.review import NOT_MEASURED, QUESTIONS, review_lines

BOARDS = Path(__file__).parents[3] / "leaderboards"


@pytest.fixture
def records(make_record):
    """An attack 3 dB better than its control in eight batches, in PSNR alone."""
    attack = [make_record("dlg", batch, (20.0 + 0.1 * batch, 20.0)) for batch in range(8)]
    control = [make_record("mean_image", batch, (17.0, 17.0 + 0.1 * batch), is_control=True) for batch in range(8)]
    return [*attack, *control]


def changed(records, shift):
    """The attack's records with every PSNR shifted."""
    shifted = []
    for record in records:
        change = 0.0 if record.cell.is_control else shift
        images = [
            image.model_copy(update={"metrics": image.metrics | {"psnr": image.metrics["psnr"] + change}})
            for image in record.images
        ]
        shifted.append(record.model_copy(update={"images": images}))
    return shifted


@pytest.fixture
def checked(records, tmp_path):
    write_board(records, tmp_path / "board.csv")
    return check_board(tmp_path / "board.csv")


def test_the_same_records_have_the_same_values_and_verdict(checked, records):
    attack, control = contested(checked.rows, checked.samples, records)
    assert attack.words == "8 of its 8 batches run again; the same values; the same verdict: pixels from the gradient"
    assert control.words == "8 of its 8 batches run again; the same values"
    assert not attack.turns


@pytest.mark.parametrize(("shift", "turns"), [(-0.5, False), (-4.0, True)])
def test_a_difference_is_said_with_its_size_and_whether_the_verdict_turns(checked, records, shift, turns):
    attack, _ = contested(checked.rows, checked.samples, changed(records, shift))
    assert f"({shift:.2f}; in one image up to {-shift:.2f})" in attack.words
    assert attack.turns == turns
    assert ("THE VERDICT TURNS: pixels from the gradient, again nothing" in attack.words) == turns


def test_fewer_batches_are_compared_and_their_verdict_is_not(checked, records):
    attack, _ = contested(checked.rows, checked.samples, [r for r in changed(records, -9.0) if r.repetition < 3])
    assert attack.words.startswith("3 of its 8 batches run again; ")
    assert "(-9.00; " in attack.words
    assert attack.words.endswith("verdict not compared")
    assert not attack.turns


def test_weights_of_another_machine_are_the_same_row(checked, records):
    elsewhere = [r.model_copy(update={"cell": r.cell.model_copy(update={"specification": "other"})}) for r in records]
    assert len(contested(checked.rows, checked.samples, elsewhere)) == 2
    other_setting = [r.model_copy(update={"cell": r.cell.model_copy(update={"image_size": 99})}) for r in records]
    assert contested(checked.rows, checked.samples, other_setting) == []


def test_what_one_batch_decides_is_fragile():
    """A published board: what its page calls fragile because few batches decide it."""
    fragile = check_board(BOARDS / "cifar10-identity.csv").fragile
    assert [line.split(": ")[1] for line in fragile] == [
        "inverting_gradients (B=1)",
        "gradinversion.no_bn (B=1)",
        "dlg (B=1)",
    ]
    assert fragile[-1].endswith("without any of batches 0, 2, 3, 5, 7 structure and identity from the gradient")


def test_what_no_batch_decides_is_not(checked):
    assert checked.fragile == []


def test_every_question_is_answered_by_a_column_or_not_measured(checked):
    text = " ".join("\n".join(review_lines(checked.rows)).split())
    assert all(question in text for question in QUESTIONS)
    assert "PSNR: psnr_mean 20.18" in text
    assert f"published number beside it: {NOT_MEASURED}" in text
    assert f"LPIPS, with its backbone: {NOT_MEASURED}" in text
    assert max(map(len, review_lines(checked.rows))) <= 80


def test_a_review_of_a_published_board_counts_the_rows_that_lack_an_answer():
    rows = check_board(BOARDS / "cifar10-identity.csv").rows
    text = " ".join("\n".join(review_lines(rows)).split())
    assert "batch_size 1, 4 " in text
    assert "psnr_gain_mean -6.194 to 7.168" in text
