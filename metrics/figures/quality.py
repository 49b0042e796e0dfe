"""The figure of quality: each metric by batch size, every attack beside the band of the controls."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import (
    canvas,
    head,
    is_narrow,
    key_below,
    look_of,
    name_of,
    panels_in_a_row,
    two_lines,
    width_asked,
)
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, interval_of, scenes
from gradinv.metrics.figures.style import BAND, BAND_LABEL, BEST_CONTROL, DARK_GREY, error_bars
from gradinv.metrics.images import board_metrics, facts_of
from gradinv.metrics.records import BATCH_SIZE_FIELDS, Record, batch_values, granted, metric_names
from gradinv.metrics.statistics import Interval
from gradinv.metrics.typesetting import first_to_last

PANELS_IN_A_ROW = 3
_HEAD = 1.0
"""Inches of the words above and the key below."""


def quality_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `quality-*` for each setting, batch sizes together, as PNG and PDF with the CSV beside it."""
    return _drawings(scenes(records, lambda trial: trial.is_scored, BATCH_SIZE_FIELDS))


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        panels = _panels(scene)
        if panels:
            table = _table(scene.trials, panels)
            yield Drawing(f"quality-{scene.name}", partial(_figure, scene, panels), table)


def _panels(scene: Scene) -> list[str]:
    """The metrics that have a panel, where the attacks' values of them say something."""
    runs = [run for attack in scene.attacks for run in scene.trials[attack]]
    metrics = dict.fromkeys((*board_metrics(), *metric_names(runs)))
    return [metric for metric in metrics if _says_something(metric, runs)]


def _says_something(metric: str, runs: Sequence[Record]) -> bool:
    """Whether a metric has a panel and values; what is measured once a batch, only where it was not given."""
    facts = facts_of(metric)
    values = [value for run in runs for value in batch_values(run, metric)]
    if facts is None or not facts.panel or not values:
        return False
    # Labels that were given are all right, and a panel of them would only take room.
    best = facts.high if facts.direction == "higher" else facts.low
    were_given = all(run.label_method in ("", "given") for run in runs)
    return facts.per == "image" or not were_given or any(value != best for value in values)


def _label_of(metric: str) -> str:
    facts = facts_of(metric)
    return metric if facts is None else two_lines(facts.heading, f"{facts.direction} is better")


def _figure(scene: Scene, panels: Sequence[str]) -> Figure:
    keys = scene.attack_keys
    sizes = sorted({cell.batch_size for cell in scene.trials})
    columns = panels_in_a_row(min(len(panels), PANELS_IN_A_ROW), 4.75)
    rows = -(-len(panels) // columns)
    figure = canvas(4.75 * columns, _HEAD + rows * _row_height(keys, sizes) + 0.16 * len(keys) / 3, lowest=1.0)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis, metric in zip(axes, panels, strict=False):
        draw = _by_batch_size if len(sizes) > 1 else _dots
        draw(axis, metric, sizes, scene)
    if len(sizes) > 1:  # one name for all panels of a column, below the last
        for axis in axes[: len(panels) - columns]:
            axis.set_xlabel("")
    # All panels show the same attacks and the same band.
    handles, labels = axes[0].get_legend_handles_labels()
    key_below(figure, handles, labels, columns=3)
    head(
        figure,
        f"How well do the attacks reconstruct?\n{scene.title}\n{granted(scene.setting)}\n"
        f"Mean over batches with its 95 % interval ({_batch_counts(sizes, scene)}).\n"
        "Grey band: the controls, which never see the true gradient. An attack inside it is no better than they are.",
        scene.absent,
    )
    return figure


def _row_height(keys: Sequence[str], sizes: Sequence[int]) -> float:
    """Inches of a row of panels: lower in a paper, where several rows share a page."""
    if len(sizes) > 1:
        return 3.4 if width_asked() is None else 1.5 if is_narrow() else 2.2
    # With one batch size the attacks stand below each other, and each takes its lines.
    if width_asked() is None:
        return 1.4 + 0.32 * len(keys)
    lines = max(1 + name_of(key, _letters()).count("\n") for key in keys)
    return 0.6 + (0.12 + 0.11 * lines) * len(keys)


def _letters() -> int:
    """Of a line of an attack's name beside the panels."""
    return 24 if is_narrow() else 30


def _batch_counts(sizes: Sequence[int], scene: Scene) -> str:
    """How many batches stand behind the points, e.g. `8 batches at batch size 1; 2-4 batches at batch size 4`."""
    spans: dict[int, str] = {}
    for size in sizes:
        counts = {len(scene.trials[attack]) for attack in scene.attacks if attack.batch_size == size}
        spans |= {size: f"{first_to_last(counts, '-')} batch{'' if counts == {1} else 'es'}"} if counts else {}
    if len(spans) > 1 and len(set(spans.values())) == 1:
        return f"{spans.popitem()[1]} at each batch size"
    return "; ".join(f"{span} at batch size {size}" for size, span in spans.items())


def _by_batch_size(axis: Axes, metric: str, sizes: Sequence[int], scene: Scene) -> None:
    """Lines over the batch sizes; the attacks are set side by side, so that no interval hides another."""
    # Batch sizes are categories: on a linear axis 48 would crowd 1, 2 and 4 into a corner.
    keys, positions = scene.attack_keys, np.arange(len(sizes), dtype=float)
    _band(axis, metric, positions, [_control_range(metric, size, scene.trials) for size in sizes])
    for index, key in enumerate(keys):
        shift = min(0.05, 0.7 / len(keys)) * (index - (len(keys) - 1) / 2)
        values = [interval_of(scene.runs(key, size), metric) for size in sizes]
        measured = [(x + shift, value) for x, value in zip(positions, values, strict=True) if value.n]
        if measured:
            x, intervals = zip(*measured, strict=True)
            means, (color, marker) = [value.mean for value in intervals], look_of(key)
            errors = error_bars(intervals)
            axis.errorbar(x, means, errors, color=color, marker=marker, capsize=2, elinewidth=1, label=name_of(key))
    axis.set_xticks(positions, [str(size) for size in sizes])
    axis.set_xlim(-0.4, len(sizes) - 0.6)
    axis.set(xlabel="batch size (images in the private batch)", ylabel=_label_of(metric))


def _dots(axis: Axes, metric: str, sizes: Sequence[int], scene: Scene) -> None:
    """One line per attack, from top to bottom, for a single batch size."""
    keys, controls = scene.attack_keys, _control_range(metric, sizes[0], scene.trials)
    if controls is not None:
        axis.axvspan(*controls, color=BAND, label=BAND_LABEL, zorder=0)
        axis.axvline(controls[_best_end(metric)], color=DARK_GREY, linestyle="--", label=BEST_CONTROL)
    for index, key in enumerate(keys):
        value = interval_of(scene.runs(key, sizes[0]), metric)
        if value.n:
            color, marker = look_of(key)
            axis.errorbar([value.mean], [index], xerr=error_bars([value]), color=color, marker=marker, capsize=2)
    place = axis.get_subplotspec()
    is_first = place is not None and place.is_first_col()
    names = [name_of(key, _letters()) if is_first else "" for key in keys]
    axis.set_yticks(range(len(keys)), names, fontsize=None if width_asked() is None else 6.5)
    axis.set_ylim(len(keys) - 0.5, -0.5)
    axis.set_xlabel(_label_of(metric))


def _best_end(metric: str) -> int:
    """Which end of a range of controls is the best one: its lowest mean where lower is better."""
    facts = facts_of(metric)
    return 0 if facts is not None and facts.direction == "lower" else 1


def _band(axis: Axes, metric: str, positions: np.ndarray, ranges: Sequence[tuple[float, float] | None]) -> None:
    measured = [(x, *bounds) for x, bounds in zip(positions, ranges, strict=True) if bounds is not None]
    if not measured:
        return
    x, low, high = (np.array(column) for column in zip(*measured, strict=True))
    # The band ends flat a little beyond the outer points, so that a single point still shows one.
    x, low, high = (np.concatenate([c[:1], c, c[-1:]]) for c in (x, low, high))
    x[0], x[-1] = x[0] - 0.35, x[-1] + 0.35
    axis.fill_between(x, low, high, color=BAND, linewidth=0, label=BAND_LABEL, zorder=0)
    axis.plot(
        x, (low, high)[_best_end(metric)], color=DARK_GREY, linestyle="--", linewidth=1.2, label=BEST_CONTROL, zorder=1
    )


def _control_range(metric: str, size: int, trials: Trials) -> tuple[float, float] | None:
    """Lowest and highest mean of all controls of all attacks at this batch size."""
    # One band for the whole panel; which controls are an attack's own, the board knows.
    controls = [runs for cell, runs in trials.items() if cell.is_control and cell.batch_size == size]
    means = [interval_of(runs, metric).mean for runs in controls]
    measured = [mean for mean in means if not np.isnan(mean)]
    return (min(measured), max(measured)) if measured else None


def _table(trials: Trials, panels: Sequence[str]) -> pd.DataFrame:
    """What the panels show, one row per key, batch size and metric."""
    rows = []
    for cell, runs in trials.items():
        values = {metric: interval_of(runs, metric) for metric in panels}
        rows += [_row(cell.key, cell.is_control, cell.batch_size, *item) for item in values.items() if item[1].n]
    return pd.DataFrame(rows)


def _row(key: str, is_control: bool, batch_size: int, metric: str, value: Interval) -> dict[str, Any]:
    names = {"key": key, "is_control": is_control, "batch_size": batch_size, "metric": metric}
    return names | {"mean": value.mean, "low": value.low, "high": value.high, "n_batches": value.n}
