"""The figure of convergence: each attack's own objective over evaluations, batch by batch, beside blind gradients."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradinv.metrics.figures.presentation import head, key_below, look_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, paged, scenes
from gradinv.metrics.figures.small_panels import attacks_on_a_page, few_ticks, name_first_column, small_panels
from gradinv.metrics.figures.style import GREY
from gradinv.metrics.records import BATCH_SIZE_FIELDS, BLIND_GRADIENTS, Record

_LINES: dict[str, Literal["--", ":"]] = dict(zip(BLIND_GRADIENTS, ("--", ":"), strict=True))
"""Control -> line style."""


def objective_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `objective-*` for each setting, batch sizes together, as PNG and PDF with the CSV of all its curves.

    More than 6 attacks take several pages, and fewer where a width is asked for.
    """
    return _drawings(scenes(records, lambda trial: trial.is_scored, BATCH_SIZE_FIELDS))


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        per_page = attacks_on_a_page(len(_sizes(scene)))
        yield from paged("objective", scene, per_page, partial(_figure, scene), _table(scene.trials))


def _sizes(scene: Scene) -> list[int]:
    return sorted({cell.batch_size for cell in scene.trials})


def _figure(scene: Scene, start: int) -> Figure:
    """One page of small panels, for the attacks from `start` on."""
    sizes = _sizes(scene)
    keys = scene.attack_keys[start : start + attacks_on_a_page(len(sizes))]
    figure, panels = small_panels(keys, sizes, 1.7)
    name_first_column(panels, "objective")
    for (key, size), axis in panels.items():
        for control, line in _LINES.items():
            _curves(axis, scene.runs(f"{control} of {key}", size), GREY, line)
        _curves(axis, scene.runs(key, size), look_of(key).color, "-", single_batches=True)
        _finish(axis)
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


def _finish(axis: Axes) -> None:
    if axis.get_yscale() == "log":
        few_ticks(axis)
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
