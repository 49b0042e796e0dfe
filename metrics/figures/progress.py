"""Quality over evaluations: how good the iterates are on the way, from the snapshots that every trial keeps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, key_below, look_of, name_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, scenes
from gradinv.metrics.figures.style import GREY
from gradinv.metrics.records import Cell, Record, controls_of, granted
from gradinv.metrics.statistics import Interval, metric_interval

Progress = list[tuple[int, Interval]]
"""(evaluations, PSNR or normalised rank over batches), in the order of the evaluations."""
_RECORDED = {"psnr": "snapshot_psnr", "identity_lowpass": "snapshot_identity"}
"""Metric -> the field of a record that holds it for each snapshot."""
_LABELS = {
    "psnr": "PSNR of the iterate (dB),\nhigher is better",
    "identity_lowpass": "normalised rank of the original,\nlower is better; 0.5: chance",
}
Courses = Mapping[str, Progress]
"""Metric -> its course over the evaluations."""


def progress_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `progress-*` for each setting whose trials kept snapshots, as PNG, PDF and CSV; returns the files."""
    return _drawings(scenes(records, lambda trial: bool(trial.snapshot_psnr), lacks="kept no snapshots"))


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        if scene.attacks:
            by_cell = {
                cell: {metric: progress(trials, metric) for metric in _RECORDED}
                for cell, trials in scene.trials.items()
            }
            yield Drawing(f"progress-{scene.name}", partial(_figure, scene, by_cell), _table(by_cell))


def progress(trials: Sequence[Record], metric: str = "psnr") -> Progress:
    """Mean of a metric over batches with its interval, where every one of the trials has a snapshot and measured it."""
    recorded = [getattr(trial, _RECORDED[metric]) for trial in trials]
    if not all(recorded):
        return []  # older records know no ranks of their snapshots
    snapshots = [
        dict(zip(trial.snapshots, values, strict=True)) for trial, values in zip(trials, recorded, strict=True)
    ]
    # A trial that stopped early lacks the later ones: a mean over those that went on would compare other batches.
    common = sorted(set.intersection(*(set(value_at) for value_at in snapshots)))
    values = {evaluations: [value_at[evaluations] for value_at in snapshots] for evaluations in common}
    return [(evaluations, metric_interval(metric, of_batches)) for evaluations, of_batches in values.items()]


def _figure(scene: Scene, by_cell: Mapping[Cell, Courses]) -> Figure:
    metrics = [metric for metric in _RECORDED if any(courses[metric] for courses in by_cell.values())]
    figure = canvas(7.5, 2 + 3 * len(metrics))
    axes = figure.subplots(len(metrics), sharex=True, squeeze=False)[:, 0]
    for metric, axis in zip(metrics, axes, strict=True):
        _panel(axis, scene, by_cell, metric)
    axes[-1].set_xlabel("evaluations")
    handles, labels = axes[0].get_legend_handles_labels()
    key_below(figure, handles, labels, columns=2)
    head(
        figure,
        f"Does more computation help?\n{scene.title}\n{granted(scene.setting)}\n"
        "Iterates as they stood, mean over batches with 95 % intervals; what "
        "is scored is the iterate with the best objective.",
        scene.absent,
    )
    return figure


def _panel(axis: Axes, scene: Scene, by_cell: Mapping[Cell, Courses], metric: str) -> None:
    """One metric's courses: attacks as lines with bands, the attack on another batch's gradient dashed."""
    for attack in scene.attacks:
        color, marker = look_of(attack.key)
        _line(axis, by_cell[attack][metric], color, "-", marker, name_of(attack.key))
        for control in controls_of(attack, by_cell):
            if control.attack == "other_gradient":
                _line(axis, by_cell[control][metric], color, "--", "", None)
    # One entry for all dashed lines: each attack's own would double the legend.
    axis.plot([], [], color=GREY, linestyle="--", label="dashed: fed another batch's gradient")
    # Snapshots are kept at geometric evaluations.
    axis.set(ylabel=_LABELS[metric], xscale="log")
    if metric != "psnr":
        axis.set_ylim(-0.02, 1.02)


def _line(axis: Axes, points: Progress, color: str, style: str, marker: str, label: str | None) -> None:
    if not points:
        return
    x = np.array([evaluations for evaluations, _ in points])
    mean, low, high = (np.array([getattr(value, name) for _, value in points]) for name in ("mean", "low", "high"))
    axis.plot(x, mean, color=color, linestyle=style, marker=marker, label=label)
    if label is not None:  # bands of the controls too would hide each other
        axis.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)


def _table(by_cell: Mapping[Cell, Courses]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for cell, courses in by_cell.items():
        ranks = dict(courses["identity_lowpass"])
        for evaluations, psnr in courses["psnr"]:
            rows.append({
                "key": cell.key,
                "is_control": cell.is_control,
                "evaluations": evaluations,
                **_columns("psnr", psnr),
                **(_columns("identity_lowpass", ranks[evaluations]) if ranks else {}),
                "n_batches": psnr.n,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _columns(metric: str, value: Interval) -> dict[str, float]:
    return {f"{metric}_mean": value.mean, f"{metric}_low": value.low, f"{metric}_high": value.high}
