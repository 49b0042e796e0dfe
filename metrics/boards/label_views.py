"""The board of label inference for the eye: a table on the terminal, and a figure."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from gradinv.metrics.figures.style import DARK_GREY, drawing, look, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

PANELS = {
    "accuracy": "share of a batch's labels found",
    "all_correct": "share of batches with every label found",
}
_SERIES = ["rule", "victim", "victim_state", "victim_seed"]
_HEADINGS = ("rule", "victim", "B", "n", "labels found %", "all found %", "chance %")


def print_label_board(frame: pd.DataFrame, console: Console) -> None:
    """Print a board as `label_board.label_board` makes it: means with their 95 % intervals, in per cent."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("rule", "victim") else "right", no_wrap=True)
    for row in frame.to_dict("records"):
        name = f"{row['victim']} ({row['victim_state']})"
        counts = (str(row["batch_size"]), str(row["n_batches"]))
        table.add_row(
            row["rule"], name, *counts, *(_percent(row, panel) for panel in PANELS), f"{100 * row['chance']:.1f}"
        )
    console.print(table, markup=False, highlight=False)


def draw_label_figure(frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Draw the board by batch size as `stem`.png and .pdf; returns the files. The same board gives the same bytes."""
    mpl.use("Agg")
    with drawing():
        return save(_figure(frame), stem)


def _percent(row: dict[Any, Any], name: str) -> str:
    mean, low, high = (100 * row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    return f"{mean:.2f}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def _figure(frame: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, name in zip(axes, PANELS, strict=True):
        _panel(axis, name, frame)
    chance = frame.drop_duplicates("batch_size").sort_values("batch_size")
    places = range(len(chance))
    axes[0].plot(places, chance["chance"], color=DARK_GREY, linestyle="--", label="chance: B / classes")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    row = frame.iloc[0]
    figure.suptitle(
        f"How many labels does the classifier's gradient give away?\n{row['dataset']} {row['image_size']} px · "
        f"{row['num_classes']} classes, labels distinct · eval mode, no defense\n"
        f"Mean over {row['n_batches']} batches with its 95 % interval.",
        fontsize=9,
    )
    return figure


def _panel(axis: Axes, name: str, frame: pd.DataFrame) -> None:
    """Lines over the batch sizes, set side by side, so that no interval hides another."""
    sizes = sorted(frame["batch_size"].unique())
    groups = list(frame.groupby(_SERIES, sort=False))
    for index, ((rule, victim, state, _), rows) in enumerate(groups):
        ordered = rows.sort_values("batch_size")
        shift = min(0.05, 0.7 / len(groups)) * (index - (len(groups) - 1) / 2)
        places = np.array([sizes.index(size) for size in ordered["batch_size"]]) + shift
        mean, low, high = (ordered[f"{name}_{part}"].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        color, marker = look(index)
        label = f"{rule} rule, {victim} ({state})"
        axis.errorbar(places, mean, [mean - low, high - mean], color=color, marker=marker, capsize=2, label=label)
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set(xlabel="batch size (images in the private batch)", ylabel=PANELS[name], ylim=(-0.03, 1.03))
