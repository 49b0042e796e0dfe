"""The figure of label inference: how many labels each rule finds, by batch size, a row of panels for each setting."""

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

PANELS = {
    "accuracy": "share of a batch's labels found",
    "all_correct": "share of batches\nwith every label found",
}
_COLOURS, _LINES = 7, ("-", "--", ":")
"""Colours of gradinv's style before they repeat, and the lines of each round of them."""
_LETTERS = 52
"""Letters of a title that stand above a panel without reaching its neighbour's."""


def draw_label_figure(frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Draw a board of label inference as `stem`.png and .pdf; returns the files. What was skipped has no line."""
    return save_all([Drawing(stem.name, partial(_figure, frame))], stem.parent)


def _figure(frame: pd.DataFrame) -> Figure:
    measured = frame[frame["n_batches"] > 0]
    settings = [rows for _, rows in measured.groupby(LABEL_SETTING, sort=False, dropna=False)]
    # Of a rule the same look in every panel, though it may be skipped in some.
    looks = {rule: index for index, rule in enumerate(dict.fromkeys(measured["rule"]))}
    figure = canvas(9.5, 1.4 + 2.7 * max(1, len(settings)))
    axes = figure.subplots(max(1, len(settings)), len(PANELS), squeeze=False)
    # Not strict: of a board on which nothing was measured there is one row of empty panels.
    for row, rows in zip(axes, settings, strict=False):
        for axis, name in zip(row, PANELS, strict=True):
            _panel(axis, name, rows, looks)
        chance = rows.drop_duplicates("batch_size").sort_values("batch_size")
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


def _panel(axis: Axes, name: str, rows: pd.DataFrame, looks: dict[str, int]) -> None:
    """Lines over the batch sizes, set side by side, so that no interval hides another."""
    sizes = sorted(rows["batch_size"].unique())
    for rule, line in rows.groupby("rule", sort=False):
        ordered = line.sort_values("batch_size")
        index = looks[str(rule)]
        shift = min(0.05, 0.7 / len(looks)) * (index - (len(looks) - 1) / 2)
        x = np.array([sizes.index(size) for size in ordered["batch_size"]]) + shift
        mean, low, high = (ordered[f"{name}_{part}"].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        color, marker = look(index)
        # There are more rules than colours: those of a second round are dashed.
        style = _LINES[index // _COLOURS % len(_LINES)]
        axis.errorbar(x, mean, [mean - low, high - mean], color=color, marker=marker, ms=4, capsize=2, label=str(rule),
                      linestyle=style)  # fmt: skip
    # An update on a line of its own, whose key has no spaces to end a line at.
    lines = title_of_setting(rows).replace(", weight_update", ",\nweight_update").splitlines()
    axis.set_title("\n".join(part for line in lines for part in wrapped(line, _LETTERS)))
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set(xlabel="batch size (images in the private batch)", ylabel=PANELS[name], ylim=(-0.03, 1.03))
