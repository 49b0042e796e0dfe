"""The figure of label inference stands at the board's numbers and comes out the same each time."""

import numpy as np
import pandas as pd
import pytest

from gradinv.metrics.boards.label_table import LabelCell, label_board
from gradinv.metrics.figures import label_inference
from gradinv.metrics.figures.presentation import Presentation, styled


@pytest.fixture
def board():
    """Two rules against two victims at two sizes."""
    shares = (1.0, 0.5, 0.75, 1.0)
    origin = {"data_hash": "d", "weights_hash": "w", "device": "cpu", "versions": "torch 2", "date": "2025-01-02"}
    victims = [("resnet18", "untrained", None), ("resnet18[epochs=3]", "trained", 0.3)]
    cells = [
        LabelCell(
            rule=rule,
            dataset="tiny",
            image_size=32,
            victim=victim,
            victim_state=state,
            victim_seed=0,
            victim_accuracy=accuracy,
            zero_gradient_share=0.0,
            batch_size=batch_size,
            num_classes=200,
            accuracies=shares if rule == "min" else shares[::-1],
            **origin,
        )
        for victim, state, accuracy in victims
        for rule, batch_size in (("sum", 4), ("sum", 8), ("min", 4), ("min", 8))
    ]
    return label_board(cells)


def test_the_figure_stands_at_the_boards_numbers(board):
    with styled(Presentation()):
        figure = label_inference._figure(board)
    settings = [rows for _, rows in board.groupby(["victim_state"], sort=False)]
    panels = [(rows, name) for rows in settings for name in label_inference.PANELS]
    for axis, (rows, name) in zip(figure.axes, panels, strict=True):
        drawn = [bars.lines[0].get_ydata() for bars in axis.containers]
        expected = [line[f"{name}_mean"] for _, line in rows.groupby("rule", sort=False)]
        assert len(drawn) == len(expected) == 2
        for line, values in zip(drawn, expected, strict=True):
            np.testing.assert_allclose(line, values)
    chance = [line for line in figure.axes[0].get_lines() if line.get_label() == "B / classes"]
    np.testing.assert_allclose(chance[0].get_ydata(), [0.02, 0.04])


def test_more_updates_than_batch_sizes_are_what_the_lines_run_over(board):
    """In the board's order, one line a rule and way of sending; a row of panels for each victim and batch size."""
    updates = ["gradient", "weight_update[epochs=4,lr=0.1]", "weight_update[epochs=8,lr=0.1]"]
    values = [
        {"update": update, **{f"accuracy_{part}": place / 4 for part in ("mean", "low", "high")}}
        for place, update in enumerate(updates)
    ]
    steps = pd.concat([board.assign(**changed) for changed in values])
    with styled(Presentation()):
        figure = label_inference._figure(steps)
    titles = [" ".join(axis.get_title().split()) for axis in figure.axes[::2]]
    assert titles == [
        f"{victim}, labels distinct, B = {size}"
        for victim in ("resnet18 (untrained)", "resnet18[epochs=3] (trained)")
        for size in (4, 8)
    ]
    axis = figure.axes[0]
    words = ["gradient", "epochs=4\nlr=0.1", "epochs=8\nlr=0.1"]
    assert [label.get_text() for label in axis.get_xticklabels()] == words
    drawn = [list(bars.lines[0].get_ydata()) for bars in axis.containers]
    assert drawn == [[0.0], [0.0], [0.25, 0.5], [0.25, 0.5]]


def test_long_titles_stay_above_their_panels(board):
    board["max_equal_labels"], board["client_classes"] = 48, 10
    board["update"] = "weight_update[epochs=16,lr=0.1,minibatch=4,momentum=0.9]"
    with styled(Presentation()):
        figure = label_inference._figure(board)
        figure.canvas.draw()
        left, right = (axis.title.get_window_extent() for axis in figure.axes[-2:])
    assert left.x0 >= 0
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.x1
    words = " ".join(figure.axes[-1].get_title().split())
    assert words.startswith("resnet18[epochs=3] (trained), labels up to 48 equal, of 10 classes, weight_update[")


def test_the_figure_is_two_files_that_come_out_the_same(tmp_path, board):
    first, second = (label_inference.draw_label_figure(board, tmp_path / name / "labels") for name in "ab")
    assert [path.name for path in first] == ["labels.png", "labels.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
