"""The figure of convergence: each attack's own objective over evaluations, batch by batch, beside blind gradients."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradinv.metrics.figures.presentation import canvas, head, head_panels, key_below, look_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, paged, scenes
from gradinv.metrics.figures.style import GREY
from gradinv.metrics.records import BATCH_SIZE_FIELDS, BLIND_GRADIENTS, Record

_LINES: dict[str, Literal["--", ":"]] = dict(zip(BLIND_GRADIENTS, ("--", ":"), strict=True))
"""Control -> line style."""
ATTACKS_PER_FIGURE = 6


def objective_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `objective-*` for each setting, batch sizes together, as PNG and PDF with the CSV of all its curves.

    More than 6 attacks take several pages.
    """
    return _drawings(scenes(records, lambda trial: trial.is_scored, BATCH_SIZE_FIELDS))


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        yield from paged("objective", scene, ATTACKS_PER_FIGURE, partial(_figure, scene), _table(scene.trials))


def _figure(scene: Scene, start: int) -> Figure:
    """One page of small panels, for the attacks from `start` on."""
    keys = scene.attack_keys[start : start + ATTACKS_PER_FIGURE]
    sizes = sorted({cell.batch_size for cell in scene.trials})
    figure = canvas(max(7.5, 3.4 * len(sizes)), 1.5 + 1.7 * len(keys))
    axes = figure.subplots(len(keys), len(sizes), squeeze=False)
    for row, key in enumerate(keys):
        for column, size in enumerate(sizes):
            axis = axes[row, column]
            for control, line in _LINES.items():
                _curves(axis, scene.runs(f"{control} of {key}", size), GREY, line)
            _curves(axis, scene.runs(key, size), look_of(key).color, "-", single_batches=True)
            _label(axis, first=column == 0, last=row == len(keys) - 1)
    head_panels(list(axes.flat), [(key, size) for key in keys for size in sizes])
    # By hand: the colours are the panels', and only the kinds of lines are to be explained.
    legend = [Line2D([], [], color="black", label="the attack: median, single batches thin")]
    blind = [name for name in _LINES if any(scene.runs(f"{name} of {key}", size) for key in keys for size in sizes)]
    legend += [Line2D([], [], color=GREY, linestyle=_LINES[name], label=name) for name in blind]
    key_below(figure, legend, [str(line.get_label()) for line in legend], columns=3)
    grey = (
        "\nGrey, median: the same attack fed the gradient of another batch (other_gradient) or noise (noise_gradient)."
    )
    head(
        figure,
        f"Have the attacks converged?\n{scene.title}\nEach attack's own objective (units differ between attacks): "
        f"median over batches.{grey * bool(blind)}",
        scene.absent,
    )
    return figure


def _curves(axis: Axes, runs: Sequence[Record], color: str, line: str, *, single_batches: bool = False) -> None:
    """The median over batches and, where asked, each batch as a thin line; a stopped curve keeps its last value."""
    curves = [np.array(run.curve, dtype=float).T for run in runs if run.curve]
    if not curves:
        return
    # Trials are logged at different evaluations: all curves are read at the points of all.
    points = np.unique(np.concatenate([x for x, _ in curves]))
    values = np.array([np.interp(points, x, y) for x, y in curves])
    if single_batches:
        axis.plot(points, values.T, color=color, linewidth=0.7, alpha=0.35)
    axis.plot(points, np.median(values, axis=0), color=color, linestyle=line)
    # Some objectives are negative, or reach 0.
    if (values > 0).all():
        axis.set_yscale("log")


def _label(axis: Axes, *, first: bool, last: bool) -> None:
    if first:
        axis.set_ylabel("objective")
    if last:
        axis.set_xlabel("evaluations")
    if not axis.lines:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "no trial recorded a curve", ha="center", va="center", transform=axis.transAxes, color=GREY)


def _table(trials: Trials) -> pd.DataFrame:
    """Every curve that the pages show, one row per key, batch size, batch and evaluation."""
    rows = []
    for cell, runs in trials.items():
        if not cell.is_control or cell.attack in _LINES:
            names = (cell.key, cell.is_control, cell.batch_size)
            rows += [(*names, run.repetition, *point) for run in runs for point in run.curve]
    return pd.DataFrame(rows, columns=["key", "is_control", "batch_size", "batch", "evaluations", "objective"])
