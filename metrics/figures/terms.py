"""The figure of terms: what each attack's objective consists of on the way, gradient, priors and group apart."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradinv.metrics.figures.presentation import head, key_below, look
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, paged, scenes
from gradinv.metrics.figures.small_panels import attacks_on_a_page, few_ticks, name_first_column, small_panels
from gradinv.metrics.figures.style import GREY
from gradinv.metrics.records import BATCH_SIZE_FIELDS, Record

_KNOWN = ("gradient", "tv", "l2", "bn", "group")
"""Terms that keep their look in every figure; others follow."""


def term_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `terms-*` for each setting, batch sizes together, as PNG and PDF with the CSV of all terms.

    Attacks whose records hold no terms are left out. More than 6 attacks take several pages, and fewer where a width
    is asked for.
    """
    shown = scenes(
        records, lambda trial: trial.is_scored and bool(trial.terms), BATCH_SIZE_FIELDS, lacks="recorded no terms"
    )
    return _drawings(scene for scene in shown if scene.attack_keys)


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        per_page = attacks_on_a_page(len(_sizes(scene)))
        yield from paged("terms", scene, per_page, partial(_figure, scene), _table(scene.trials))


def _sizes(scene: Scene) -> list[int]:
    return sorted({cell.batch_size for cell in scene.trials if not cell.is_control})


def _figure(scene: Scene, start: int) -> Figure:
    """One page of small panels, for the attacks from `start` on."""
    names = _names(trial for cell, trials in scene.trials.items() if not cell.is_control for trial in trials)
    sizes = _sizes(scene)
    keys = scene.attack_keys[start : start + attacks_on_a_page(len(sizes))]
    figure, panels = small_panels(keys, sizes, 1.9)
    name_first_column(panels, "weighted term")
    for (key, size), axis in panels.items():
        _panel(axis, scene.runs(key, size), names)
    # By hand: an attack's panel may lack a term that another's has.
    handles = [Line2D([], [], color=look(index).color) for index, name in enumerate(names) if name]
    key_below(figure, handles, list(filter(None, names)), columns=6)
    head(
        figure,
        f"What does the objective consist of?\n{scene.title}\nEach term times its weight: median over batches, their "
        "range shaded.\nThe objective is their sum; the group only moves agents and selects nothing.",
        scene.absent,
    )
    return figure


def _names(trials: Iterable[Record]) -> list[str]:
    """The terms of these trials in the order of their looks; empty in the place of a known one that none has."""
    recorded = list(dict.fromkeys(name for trial in trials for name in trial.terms))
    known = [name if name in recorded else "" for name in _KNOWN]
    return known + [name for name in recorded if name not in _KNOWN]


def _panel(axis: Axes, runs: Sequence[Record], names: Sequence[str]) -> None:
    if not runs:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "no trial recorded terms", ha="center", va="center", transform=axis.transAxes, color=GREY)
        return
    points = np.unique(np.concatenate([[step for step, _ in run.curve] for run in runs]))
    for index, name in enumerate(names):
        curves = [(run.curve, run.terms[name]) for run in runs if name in run.terms]
        if curves:
            # Trials are logged at different evaluations: all are read at the points of all.
            values = np.array([np.interp(points, [step for step, _ in curve], terms) for curve, terms in curves])
            # A group that has not begun is 0, which has no place on a logarithmic axis.
            values = np.where(values > 0, values, np.nan)
            axis.plot(points, np.median(values, axis=0), color=look(index).color)
            axis.fill_between(points, values.min(0), values.max(0), color=look(index).color, alpha=0.15, linewidth=0)
    axis.set_yscale("log")
    few_ticks(axis)


def _table(trials: Trials) -> pd.DataFrame:
    """Every term that the pages show, one row per key, batch size, batch, evaluation and term."""
    rows = [
        (cell.key, cell.batch_size, run.repetition, step, name, value)
        for cell, runs in trials.items()
        if not cell.is_control
        for run in runs
        for name, values in run.terms.items()
        for (step, _), value in zip(run.curve, values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["key", "batch_size", "batch", "evaluations", "term", "value"])
