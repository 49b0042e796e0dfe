"""Quality over evaluations: how good the iterates are on the way, from the snapshots that every trial keeps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.skeleton import Drawing, Scene, save_all, scenes
from gradinv.metrics.figures.style import GREY, look
from gradinv.metrics.records import Cell, Record, controls_of, granted
from gradinv.metrics.statistics import Interval, interval

Progress = list[tuple[int, Interval]]
"""(evaluations, PSNR over batches), in the order of the evaluations."""


def draw_progress(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw `progress-*` for each setting whose trials kept snapshots, as PNG, PDF and CSV; returns the files."""
    return save_all(_drawings(scenes(records, lambda trial: bool(trial.snapshot_psnr))), out_dir)


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        if scene.attacks:
            by_cell = {cell: progress(trials) for cell, trials in scene.trials.items()}
            yield Drawing(f"progress-{scene.name}", partial(_figure, scene, by_cell), _table(by_cell))


def progress(trials: Sequence[Record]) -> Progress:
    """Mean PSNR over batches with its interval, at each evaluation where every one of the trials has a snapshot."""
    snapshots = [dict(zip(trial.snapshots, trial.snapshot_psnr, strict=True)) for trial in trials]
    # A trial that stopped early lacks the later ones: a mean over those that went on would compare other batches.
    common = sorted(set.intersection(*(set(psnr_at) for psnr_at in snapshots)))
    return [(evaluations, interval([psnr_at[evaluations] for psnr_at in snapshots])) for evaluations in common]


def _figure(scene: Scene, by_cell: Mapping[Cell, Progress]) -> Figure:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    for index, attack in enumerate(scene.attacks):
        color, marker = look(index)
        _line(axis, by_cell[attack], color, "-", marker, attack.key)
        for control in controls_of(attack, by_cell):
            if control.attack == "other_gradient":
                _line(axis, by_cell[control], color, "--", "", None)
    # One entry for all dashed lines: each attack's own would double the legend.
    axis.plot([], [], color=GREY, linestyle="--", label="dashed: fed another batch's gradient")
    # Snapshots are kept at geometric evaluations.
    axis.set(xlabel="evaluations", ylabel="PSNR of the iterate (dB), higher is better", xscale="log")
    figure.legend(loc="outside lower center", ncols=2)
    figure.suptitle(
        f"Does more computation help?\n{scene.title}\n{granted(scene.setting)}\n"
        "Iterates as they stood, mean over batches with 95 % intervals; what "
        "is scored is the iterate with the best objective.",
        fontsize=9,
    )
    return figure


def _line(axis: Axes, points: Progress, color: str, style: str, marker: str, label: str | None) -> None:
    if not points:
        return
    x = np.array([evaluations for evaluations, _ in points])
    mean, low, high = (np.array([getattr(value, name) for _, value in points]) for name in ("mean", "low", "high"))
    axis.plot(x, mean, color=color, linestyle=style, marker=marker, label=label)
    if label is not None:  # bands of the controls too would hide each other
        axis.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)


def _table(by_cell: Mapping[Cell, Progress]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for cell, points in by_cell.items():
        for evaluations, psnr in points:
            rows.append({
                "key": cell.key,
                "is_control": cell.is_control,
                "evaluations": evaluations,
                "psnr_mean": psnr.mean,
                "psnr_low": psnr.low,
                "psnr_high": psnr.high,
                "n_batches": psnr.n,
            })  # fmt: skip
    return pd.DataFrame(rows)
