"""Quality over evaluations: how good the iterates are on the way, from the snapshots that every trial keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gradinv.metrics.figures.style import GREY, drawing, look, save, write_table
from gradinv.metrics.records.reading import trials_by_cell
from gradinv.metrics.records.record import Cell, Record
from gradinv.metrics.records.settings import by_setting, granted, slug, title, varying
from gradinv.metrics.statistics.intervals import Interval, interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Progress = list[tuple[float, Interval]]
"""(evaluations, PSNR over batches), in the order of the evaluations."""


def draw_progress(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw `progress-*` for each setting whose trials kept snapshots, as PNG, PDF and CSV; returns the files."""
    trials = {cell: [t for t in runs if t.snapshot_psnr] for cell, runs in trials_by_cell(records).items()}
    groups = by_setting([cell for cell in trials if trials[cell]])
    also = varying(setting for setting, _ in groups)
    paths: list[Path] = []
    with drawing():
        for setting, cells in groups:
            here = {cell: progress(trials[cell]) for cell in cells}
            if not any(not cell.is_control for cell in here):
                continue
            stem = out_dir / f"progress-{slug(setting, also)}"
            paths += save(_figure(f"{title(setting, also)}\n{granted(setting)}", here), stem)
            paths.append(write_table(_table(here), stem))
    return paths


def progress(trials: Sequence[Record]) -> Progress:
    """Mean PSNR over batches with its interval, at each evaluation where every one of the trials has a snapshot."""
    kept = [dict(zip(trial.snapshots, trial.snapshot_psnr, strict=True)) for trial in trials]
    common = sorted(set.intersection(*(set(each) for each in kept)))
    return [(evaluations, interval([each[evaluations] for each in kept])) for evaluations in common]


def _figure(heading: str, here: Mapping[Cell, Progress]) -> Figure:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    attacks = [cell for cell in here if not cell.is_control]
    for index, cell in enumerate(attacks):
        _line(axis, here[cell], look(index).color, "-", look(index).marker, cell.key)
        for control, found in here.items():
            if control.is_control and control.preset == cell.key and control.attack == "other_gradient":
                _line(axis, found, look(index).color, "--", "", None)
    axis.plot([], [], color=GREY, linestyle="--", label="dashed: fed another batch's gradient")
    axis.set(xlabel="evaluations", ylabel="PSNR of the iterate (dB), higher is better", xscale="log")
    figure.legend(loc="outside lower center", ncols=2)
    figure.suptitle(
        f"Does more computation help?\n{heading}\nIterates as they stood, mean over batches with 95 % intervals; what "
        "is scored is the iterate with the best objective.",
        fontsize=9,
    )
    return figure


def _line(axis: Axes, found: Progress, color: str, style: str, marker: str, label: str | None) -> None:
    if not found:
        return
    x = np.array([evaluations for evaluations, _ in found])
    mean, low, high = (np.array([getattr(value, name) for _, value in found]) for name in ("mean", "low", "high"))
    axis.plot(x, mean, color=color, linestyle=style, marker=marker, label=label)
    if label is not None:  # bands of the controls too would hide each other
        axis.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)


def _table(here: Mapping[Cell, Progress]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"key": cell.key, "is_control": cell.is_control, "evaluations": evaluations, "psnr_mean": value.mean,
         "psnr_low": value.low, "psnr_high": value.high, "n_batches": value.n}
        for cell, found in here.items()
        for evaluations, value in found
    ]  # fmt: skip
    return pd.DataFrame(rows)
