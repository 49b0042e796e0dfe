"""The figure of label inference: how many labels each rule finds, by batch size."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.skeleton import Drawing, save_all
from gradinv.metrics.figures.style import DARK_GREY, look

PANELS = {
    "accuracy": "share of a batch's labels found",
    "all_correct": "share of batches with every label found",
}
SERIES = ["rule", "victim", "victim_state", "victim_seed"]
"""The columns of the board that make one line."""


def draw_label_figure(frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Draw a board of label inference as `stem`.png and .pdf; returns the files."""
    return save_all([Drawing(stem.name, partial(_figure, frame))], stem.parent)


def _figure(frame: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, name in zip(axes, PANELS, strict=True):
        _panel(axis, name, frame)
    chance = frame.drop_duplicates("batch_size").sort_values("batch_size")
    axes[0].plot(range(len(chance)), chance["chance"], color=DARK_GREY, linestyle="--", label="chance: B / classes")
    # Both panels have the same lines, and chance is drawn in the first alone.
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
    groups = list(frame.groupby(SERIES, sort=False))
    for index, ((rule, victim, state, _), rows) in enumerate(groups):
        ordered = rows.sort_values("batch_size")
        shift = min(0.05, 0.7 / len(groups)) * (index - (len(groups) - 1) / 2)
        x = np.array([sizes.index(size) for size in ordered["batch_size"]]) + shift
        mean, low, high = (ordered[f"{name}_{part}"].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        color, marker = look(index)
        label = f"{rule} rule, {victim} ({state})"
        axis.errorbar(x, mean, [mean - low, high - mean], color=color, marker=marker, capsize=2, label=label)
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set(xlabel="batch size (images in the private batch)", ylabel=PANELS[name], ylim=(-0.03, 1.03))
