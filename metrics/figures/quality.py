"""Figures from records: quality by batch size beside the controls, and the objective over evaluations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from gradinv.metrics.figures.style import BAND, DARK_GREY, GREY, drawing, look, save, write_table
from gradinv.metrics.records.reading import batch_means, trials_by_cell
from gradinv.metrics.records.record import Cell, Record
from gradinv.metrics.records.settings import (
    BATCH_SIZE_FIELDS,
    Setting,
    by_setting,
    granted,
    slug,
    title,
    varying,
    wrap_key,
)
from gradinv.metrics.statistics.intervals import Interval, interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PANELS = {
    "psnr": "PSNR (dB), higher is better",
    "ssim": "SSIM, higher is better",
    "lpips_alex": "LPIPS (AlexNet), lower is better",
    "label_accuracy": "labels recovered, share",
}
ALWAYS = ("psnr", "ssim")
CURVE_CONTROLS: dict[str, Literal["--", ":"]] = {"other_gradient": "--", "noise_gradient": ":"}
ATTACKS_PER_FIGURE = 6

Trials = Mapping[Cell, Sequence[Record]]


def draw_figures(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw every figure that the records allow, as PNG and PDF; returns the files.

    For each setting, batch sizes together: `quality-*` (PSNR and SSIM by batch size, controls as a band) and
    `objective-*` (the attacks' own objective over evaluations). The same records give the same bytes.
    """
    trials = {cell: [t for t in runs if t.is_scored] for cell, runs in trials_by_cell(records).items()}
    groups = by_setting([cell for cell in trials if trials[cell]], without=BATCH_SIZE_FIELDS)
    also = varying(setting for setting, _ in groups)
    paths: list[Path] = []
    with drawing():
        for setting, cells in groups:
            attacks = _attacks(cells)
            if not attacks:
                continue
            here = {cell: trials[cell] for cell in cells}
            name, heading = slug(setting, also), title(setting, also)
            paths += save(_quality(setting, heading, attacks, here), out_dir / f"quality-{name}")
            paths.append(write_table(_quality_table(here), out_dir / f"quality-{name}"))
            for page, start in enumerate(range(0, len(attacks), ATTACKS_PER_FIGURE), start=1):
                figure = _objectives(heading, attacks, start, here)
                paths += save(figure, out_dir / (f"objective-{name}" + (f"-{page}" if page > 1 else "")))
            paths.append(write_table(_objective_table(here), out_dir / f"objective-{name}"))
    return paths


def _attacks(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.key for cell in cells if not cell.is_control))


def _quality(setting: Setting, heading: str, attacks: Sequence[str], trials: Trials) -> Figure:
    sizes = sorted({cell.batch_size for cell in trials})
    height = 4.4 if len(sizes) > 1 else 2.4 + 0.32 * len(attacks)
    panels = _panels(trials)
    figure = Figure(figsize=(4.75 * len(panels), height + 0.16 * len(attacks) / 3), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for axis, metric in zip(axes, panels, strict=True):
        draw = _by_batch_size if len(sizes) > 1 else _dots
        draw(axis, metric, sizes, attacks, trials)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    counts = _batch_counts(sizes, trials)
    figure.suptitle(
        f"How well do the attacks reconstruct?\n{heading}\n{granted(setting)}\n"
        f"Mean over batches with its 95 % interval ({counts}).\n"
        "Grey band: the controls, which never see the true gradient. An attack inside it is no better than they are.",
        fontsize=9,
    )
    return figure


def _panels(trials: Trials) -> list[str]:
    """PSNR and SSIM, LPIPS where it was measured, label accuracy where an attack had to find the labels."""
    runs = [run for cell, found in trials.items() if not cell.is_control for run in found]
    measured = any("lpips_alex" in image.metrics for run in runs for image in run.images)
    found = any(run.label_method not in ("", "given") for run in runs)
    return [*ALWAYS, *["lpips_alex"] * measured, *["label_accuracy"] * found]


def _quality_table(trials: Trials) -> pd.DataFrame:
    """What the panels show, one row per key, batch size and metric."""
    rows = []
    for cell, runs in trials.items():
        for metric in _panels(trials):
            value = interval(list(batch_means(runs, metric).values()))
            names = {"key": cell.key, "is_control": cell.is_control, "batch_size": cell.batch_size, "metric": metric}
            bounds = {"mean": value.mean, "low": value.low, "high": value.high, "n_batches": value.n}
            rows += [names | bounds] * bool(value.n)
    return pd.DataFrame(rows)


def _batch_counts(sizes: Sequence[int], trials: Trials) -> str:
    """How many batches stand behind the points, e.g. `8 batches at B = 1; 2 batches at B = 4`."""
    words = []
    for size in sizes:
        counts = sorted({len(runs) for cell, runs in trials.items() if cell.batch_size == size and not cell.is_control})
        span = "-".join(str(count) for count in dict.fromkeys(counts[:1] + counts[-1:]))
        words += [f"{span} batch{'' if counts == [1] else 'es'} at batch size {size}"] * bool(counts)
    return "; ".join(words)


def _by_batch_size(axis: Axes, metric: str, sizes: list[int], attacks: Sequence[str], trials: Trials) -> None:
    """Lines over the batch sizes; the attacks are set side by side, so that no interval hides another."""
    places = np.arange(len(sizes), dtype=float)
    _band(axis, places, [_control_range(metric, size, trials) for size in sizes])
    for index, key in enumerate(attacks):
        shift = min(0.05, 0.7 / len(attacks)) * (index - (len(attacks) - 1) / 2)
        values = [_interval(metric, key, size, trials) for size in sizes]
        shown = [(place + shift, value) for place, value in zip(places, values, strict=True) if value.n]
        if shown:
            x, found = zip(*shown, strict=True)
            means = [value.mean for value in found]
            color, marker = look(index)
            axis.errorbar(x, means, _errors(found), color=color, marker=marker, capsize=2, elinewidth=1, label=key)
    axis.set_xticks(places, [str(size) for size in sizes])
    axis.set_xlim(-0.4, len(sizes) - 0.6)
    axis.set(xlabel="batch size (images in the private batch)", ylabel=PANELS[metric])


def _dots(axis: Axes, metric: str, sizes: list[int], attacks: Sequence[str], trials: Trials) -> None:
    """One line per attack, from top to bottom, for a single batch size."""
    found = _control_range(metric, sizes[0], trials)
    if found is not None:
        axis.axvspan(found[0], found[1], color=BAND, label="all controls, lowest to highest mean", zorder=0)
        axis.axvline(found[1], color=DARK_GREY, linestyle="--", label="best control")
    for index, key in enumerate(attacks):
        value = _interval(metric, key, sizes[0], trials)
        if value.n:
            color, marker = look(index)
            axis.errorbar([value.mean], [index], xerr=_errors([value]), color=color, marker=marker, capsize=2)
    axis.set_yticks(range(len(attacks)), [wrap_key(key, 30) if metric == ALWAYS[0] else "" for key in attacks])
    axis.set_ylim(len(attacks) - 0.5, -0.5)
    axis.set_xlabel(PANELS[metric])


def _band(axis: Axes, places: np.ndarray, ranges: Sequence[tuple[float, float] | None]) -> None:
    known = [(place, *found) for place, found in zip(places, ranges, strict=True) if found is not None]
    if not known:
        return
    x, low, high = (np.array(column) for column in zip(*known, strict=True))
    # The band ends flat a little beyond the outer points, so that a single point still shows one.
    x, low, high = (np.concatenate([c[:1], c, c[-1:]]) for c in (x, low, high))
    x[0], x[-1] = x[0] - 0.35, x[-1] + 0.35
    axis.fill_between(x, low, high, color=BAND, linewidth=0, label="all controls, lowest to highest mean", zorder=0)
    axis.plot(x, high, color=DARK_GREY, linestyle="--", linewidth=1.2, label="best control", zorder=1)


def _control_range(metric: str, size: int, trials: Trials) -> tuple[float, float] | None:
    """Lowest and highest mean of all controls of all attacks at this batch size."""
    runs = [found for cell, found in trials.items() if cell.is_control and cell.batch_size == size]
    means = [interval(list(batch_means(found, metric).values())).mean for found in runs]
    known = [value for value in means if not np.isnan(value)]
    return (min(known), max(known)) if known else None


def _interval(metric: str, key: str, size: int, trials: Trials) -> Interval:
    return interval(list(batch_means(_runs(key, size, trials), metric).values()))


def _runs(key: str, size: int, trials: Trials) -> list[Record]:
    return [run for cell, runs in trials.items() if cell.key == key and cell.batch_size == size for run in runs]


def _errors(values: Sequence[Interval]) -> np.ndarray:
    """Distances from the mean to both bounds, (2, points); NaN, which draws no bar, where there is no interval."""
    return np.array([[value.mean - value.low for value in values], [value.high - value.mean for value in values]])


def _objectives(heading: str, attacks: Sequence[str], start: int, trials: Trials) -> Figure:
    """One page of small panels, for the attacks from `start` on."""
    shown = attacks[start : start + ATTACKS_PER_FIGURE]
    sizes = sorted({cell.batch_size for cell in trials})
    figure = Figure(figsize=(max(7.5, 3.4 * len(sizes)), 1.5 + 1.7 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(sizes), squeeze=False)
    for row, key in enumerate(shown):
        for column, size in enumerate(sizes):
            axis = axes[row, column]
            for control, line in CURVE_CONTROLS.items():
                _curves(axis, _runs(f"{control} of {key}", size, trials), GREY, line)
            _curves(axis, _runs(key, size, trials), look(start + row).color, "-", each=True)
            _label(axis, f"{wrap_key(key, 36)}, batch size {size}", first=column == 0, last=row == len(shown) - 1)
    legend = [Line2D([], [], color="black", label="the attack: median, single batches thin")]
    legend += [Line2D([], [], color=GREY, linestyle=line, label=name) for name, line in CURVE_CONTROLS.items()]
    figure.legend(handles=legend, loc="outside lower center", ncols=3)
    figure.suptitle(
        f"Have the attacks converged?\n{heading}\nEach attack's own objective (units differ between attacks): median "
        "over batches.\n"
        "Grey, median: the same attack fed the gradient of another batch (other_gradient) or noise (noise_gradient).",
        fontsize=9,
    )
    return figure


def _objective_table(trials: Trials) -> pd.DataFrame:
    """Every curve that the pages show, one row per key, batch size, batch and evaluation."""
    shown = {cell: runs for cell, runs in trials.items() if not cell.is_control or cell.attack in CURVE_CONTROLS}
    rows = [
        (cell.key, cell.is_control, cell.batch_size, run.repetition, evaluations, value)
        for cell, runs in shown.items()
        for run in runs
        for evaluations, value in run.curve
    ]
    return pd.DataFrame(rows, columns=["key", "is_control", "batch_size", "batch", "evaluations", "objective"])


def _curves(axis: Axes, runs: Sequence[Record], color: str, line: str, *, each: bool = False) -> None:
    """The median over batches and, where asked, each batch as a thin line; a stopped curve keeps its last value."""
    curves = [np.array(run.curve, dtype=float).T for run in runs if run.curve]
    if not curves:
        return
    points = np.unique(np.concatenate([x for x, _ in curves]))
    held = np.array([np.interp(points, x, y) for x, y in curves])
    if each:
        axis.plot(points, held.T, color=color, linewidth=0.7, alpha=0.35)
    axis.plot(points, np.median(held, axis=0), color=color, linestyle=line)
    if (held > 0).all():
        axis.set_yscale("log")


def _label(axis: Axes, heading: str, *, first: bool, last: bool) -> None:
    axis.set_title(heading, loc="left", fontsize=8)
    if first:
        axis.set_ylabel("objective")
    if last:
        axis.set_xlabel("evaluations")
    if not axis.lines:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "no trial recorded a curve", ha="center", va="center", transform=axis.transAxes, color=GREY)
