"""The figure of label inference: how many labels each rule finds, by batch size or by update, a row a setting."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.boards import LABEL_SETTING, title_of_setting
from gradinv.metrics.figures.presentation import canvas, head, look, wrapped
from gradinv.metrics.figures.skeleton import Drawing, save_all
from gradinv.metrics.figures.style import DARK_GREY
from gradinv.metrics.keys import Key, parse_key

PANELS = {
    "accuracy": "share of a batch's labels found",
    "all_correct": "share of batches\nwith every label found",
}
_COLOURS, _LINES = 7, ("-", "--", ":")
"""Colours of gradinv's style before they repeat, and the lines of each round of them."""
_LETTERS = 52
"""Letters of a title that stand above a panel without reaching its neighbour's."""
_SMALL = 7


def draw_label_figure(frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Draw a board of label inference as `stem`.png and .pdf; returns the files. What was skipped has no line.

    Lines run over batch sizes; over the updates, in the board's order, where there are more of these.
    """
    return save_all([Drawing(stem.name, partial(_figure, frame))], stem.parent)


def _figure(frame: pd.DataFrame) -> Figure:
    measured = frame[frame["n_batches"] > 0]
    axis_of = "update" if measured["update"].nunique() > measured["batch_size"].nunique() else "batch_size"
    fields = [name for name in (*LABEL_SETTING, "batch_size") if name != axis_of]
    settings = [rows for _, rows in measured.groupby(fields, sort=False, dropna=False)]
    # Of a rule the same look in every panel, though it may be skipped in some.
    looks = {rule: index for index, rule in enumerate(dict.fromkeys(measured["rule"]))}
    figure = canvas(9.5, 1.4 + (2.7 if axis_of == "batch_size" else 3.0) * max(1, len(settings)))
    axes = figure.subplots(max(1, len(settings)), len(PANELS), squeeze=False)
    # Not strict: of a board on which nothing was measured there is one row of empty panels.
    for row, rows in zip(axes, settings, strict=False):
        for axis, name in zip(row, PANELS, strict=True):
            _panel(axis, name, rows, axis_of, looks)
        chance = rows.drop_duplicates(axis_of)
        chance = chance.sort_values("batch_size") if axis_of == "batch_size" else chance
        if chance["chance"].notna().any():
            row[0].plot(range(len(chance)), chance["chance"], color=DARK_GREY, linestyle="--", label="B / classes")
    handles = {label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels())}  # noqa: B905
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    first = frame.iloc[0]
    head(
        figure,
        f"How many labels does the classifier's gradient give away?\n{first['dataset']} {first['image_size']} px · "
        f"{first['num_classes']} classes · eval mode, no defense · mean over {_numbers(measured['n_batches'])} batches "
        "with its 95 % interval",
    )
    return figure


def _numbers(values: pd.Series) -> str:
    """One number, or from the least to the most."""
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low} to {high}"


def _panel(axis: Axes, name: str, rows: pd.DataFrame, axis_of: str, looks: dict[str, int]) -> None:
    """Lines over the batch sizes or updates, set side by side, so that no interval hides another."""
    values = list(rows[axis_of].unique())
    values = sorted(values) if axis_of == "batch_size" else values
    # Between updates that differ in more than their epochs there is no way that a line could stand for.
    ways = rows["update"].map(_without_epochs) if axis_of == "update" else rows["rule"]
    for (rule, _), line in rows.groupby([rows["rule"], ways.rename("way")], sort=False):
        ordered = line.sort_values(axis_of, key=lambda column: column.map(values.index))
        index = looks[str(rule)]
        shift = min(0.05, 0.7 / len(looks)) * (index - (len(looks) - 1) / 2)
        x = np.array([values.index(value) for value in ordered[axis_of]]) + shift
        mean, low, high = (ordered[f"{name}_{part}"].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        color, marker = look(index)
        # There are more rules than colours: those of a second round are dashed.
        style = _LINES[index // _COLOURS % len(_LINES)]
        axis.errorbar(x, mean, [mean - low, high - mean], color=color, marker=marker, ms=4, capsize=2, label=str(rule),
                      linestyle=style)  # fmt: skip
    if axis_of == "batch_size":
        title, words, label = (
            title_of_setting(rows),
            [str(value) for value in values],
            "batch size (images in the private batch)",
        )
    else:
        title = f"{title_of_setting(rows.assign(update='gradient'))}, B = {rows['batch_size'].iloc[0]}"
        words, label = [_lines_of_key(value) for value in values], "what the client sends"
    # An update on a line of its own, whose key has no spaces to end a line at.
    lines = title.replace(", weight_update", ",\nweight_update").splitlines()
    axis.set_title("\n".join(part for line in lines for part in wrapped(line, _LETTERS)))
    axis.set_xticks(range(len(values)), words, fontsize=None if axis_of == "batch_size" else _SMALL)
    axis.set(xlabel=label, ylabel=PANELS[name], ylim=(-0.03, 1.03))


def _without_epochs(key: str) -> str:
    parsed = parse_key(key)
    return str(Key(parsed.name, parsed.preset, {k: v for k, v in parsed.parameters.items() if k != "epochs"}))


def _lines_of_key(key: str) -> str:
    """An update's numbers beneath its name, which is left out where they say enough.

    >>> _lines_of_key("weight_update[epochs=2,lr=0.1]"), _lines_of_key("gradient")
    ('epochs=2\\nlr=0.1', 'gradient')
    """
    parsed = parse_key(key)
    return "\n".join(f"{name}={value}" for name, value in parsed.parameters.items()) or parsed.name
