"""The letter belongs to the row: the same attack has another one where it uses more of what is granted."""

import pytest

from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.boards.taxonomy import LETTERS, letter_of

LOCAL = "weight_update[epochs=4,lr=0.01]"


@pytest.mark.parametrize(
    ("letter", "granted", "uses"),
    [
        ("A", {}, ["gradient"]),  # DLG
        ("A", {"bn_statistics": "exact"}, ["gradient"]),  # granted and not used
        ("B", {}, ["gradient", "labels"]),
        ("B", {"bn_statistics": "running"}, ["gradient", "bn_statistics"]),
        ("B", {"bn_statistics": "inferred"}, ["gradient", "bn_statistics"]),
        ("C", {"update": LOCAL}, ["gradient"]),
        ("C", {"update": LOCAL, "simulation": "weak"}, ["gradient", "labels"]),
        ("A", {"update": LOCAL, "simulation": "none"}, ["gradient"]),
        ("D", {"bn_statistics": "proxy", "update": LOCAL}, ["gradient", "bn_statistics"]),
        ("D", {"auxiliary_images": "train"}, ["gradient", "labels", "auxiliary_images"]),
        ("B", {"auxiliary_images": "train"}, ["gradient", "labels"]),
        ("E", {"bn_statistics": "exact", "update": LOCAL}, ["gradient", "bn_statistics"]),
    ],
)
def test_a_row_has_the_highest_letter_that_it_asks_for(letter, granted, uses):
    centre = {"bn_statistics": "none", "update": "gradient", "simulation": "strong"}
    assert letter_of(centre | granted, uses) == letter
    assert letter in LETTERS


def test_on_a_board_controls_and_what_was_not_measured_have_none(make_record):
    rows = [
        make_record("gradinversion", 0, (20.0,), bn_statistics="exact", uses=["gradient", "bn_statistics"]),
        make_record("gradinversion", 0, (20.0,), bn_statistics="running", uses=["gradient", "bn_statistics"]),
        make_record("mean_image", 0, (10.0,), is_control=True, uses=[]),
        make_record("dlg", 0, state="skipped", reason="impossible", uses=[]),
    ]
    board = leaderboard(rows)
    letters = dict(zip(zip(board["attack"], board["bn_statistics"], strict=True), board["letter"], strict=True))
    assert letters[("gradinversion", "exact")] == "E"
    assert letters[("gradinversion", "running")] == "B"
    assert letters[("mean_image", "none")] == letters[("dlg", "none")] == ""
