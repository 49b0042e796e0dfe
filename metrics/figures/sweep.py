"""The figure of a sweep: a metric over the values of one number, of an attack or of a defense, beside the controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, key_below, look_of, name_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, interval_of, scenes
from gradinv.metrics.figures.style import BEST_CONTROL, DARK_GREY, error_bars
from gradinv.metrics.keys import parse_key
from gradinv.metrics.records import Cell, Record, controls_of, granted
from gradinv.metrics.registry import InvalidEntryError
from gradinv.metrics.statistics import Interval

LEAST_POINTS = 3
"""Values of a number that make a sweep."""
_DECADE = 10
"""From the smallest to the largest value: beyond it the axis is logarithmic."""
_FIELDS = ("attack", "defense")


@dataclass(frozen=True)
class Point:
    """One value of the number that is swept, with what was measured there."""

    value: float
    psnr: Interval
    control: float


Lines = Mapping[str, Sequence[Point]]
"""What a line is of, in words -> its points, by value."""


def sweep_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `sweep-*` for every number of an attack or defense that has three values in a setting, with its CSV."""
    for field in _FIELDS:
        # Of a defense's numbers each is a setting of its own, which titles must not name.
        swept = {"defense": "none"} if field == "defense" else {}
        for scene in scenes(records, lambda trial: trial.is_scored, tuple(swept), swept):
            for (entry, number), lines in _sweeps(scene, field).items():
                stem = f"sweep-{field}-{entry}-{number}-{scene.name}"
                yield Drawing(stem, partial(_figure, scene, entry, number, lines), _table(entry, number, lines))


def _sweeps(scene: Scene, field: str) -> dict[tuple[str, str], dict[str, list[Point]]]:
    """(entry, number) -> its lines: cells that differ in that number alone."""
    every: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for cell in scene.attacks:
        for entry, number, value, rest in _numbers(cell, field):
            lines = every.setdefault((entry, number), {})
            lines.setdefault(rest, []).append(_point(cell, value, scene))
    swept = {names: _complete(lines) for names, lines in every.items()}
    return {names: lines for names, lines in swept.items() if lines}


def _complete(lines: Lines) -> dict[str, list[Point]]:
    """The lines with enough values, each measured once, in their order."""
    ordered = {words: sorted(points, key=lambda point: point.value) for words, points in lines.items()}
    return {
        words: points
        for words, points in ordered.items()
        if len({point.value for point in points}) == len(points) >= LEAST_POINTS
    }


def _numbers(cell: Cell, field: str) -> Iterator[tuple[str, str, float, str]]:
    """(entry, number, value, the line's words) of each numeric parameter of a cell's attack or defense."""
    try:
        key = parse_key(cell.key if field == "attack" else cell.defense)
    except InvalidEntryError:  # defenses that are composed are no single key
        return
    name = f"{key.name}.{key.preset}" if key.preset else key.name
    for number, value in key.parameters.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            others = ",".join(f"{other}={it}" for other, it in key.parameters.items() if other != number)
            rest = name + (f"[{others}]" if others else "")
            knows = ", who knows the defense" if cell.adaptive else ""
            yield name, number, float(value), rest if field == "attack" else f"{cell.key}{knows}"


def _point(cell: Cell, value: float, scene: Scene) -> Point:
    controls = [interval_of(scene.trials[control], "psnr").mean for control in controls_of(cell, scene.trials)]
    measured = [mean for mean in controls if not np.isnan(mean)]
    return Point(value, interval_of(scene.trials[cell], "psnr"), max(measured, default=np.nan))


def _figure(scene: Scene, entry: str, number: str, lines: Lines) -> Figure:
    figure = canvas(5.5, 4.4)
    axis = figure.subplots()
    for key, points in lines.items():
        _line(axis, key, points)
    # One entry for all dashed lines: each attack's own would double the key.
    axis.plot([], [], color=DARK_GREY, linestyle="--", label=f"dashed: {BEST_CONTROL} of each")
    axis.set(xlabel=f"{number} of {name_of(entry)}", ylabel="PSNR (dB), higher is better")
    values = [point.value for points in lines.values() for point in points]
    if min(values) > 0 and max(values) >= _DECADE * min(values):
        axis.set_xscale("log")
    handles, labels = axis.get_legend_handles_labels()
    key_below(figure, handles, labels, columns=2)
    setting = f"{scene.title}\n{granted(scene.setting)}"
    head(
        figure,
        f"What does {number} of {entry} do?\n{setting}\nMean over batches with its 95 % interval.",
        scene.absent,
    )
    return figure


def _line(axis: Axes, key: str, points: Sequence[Point]) -> None:
    color, marker = look_of(key)
    x, intervals = [point.value for point in points], [point.psnr for point in points]
    means = [value.mean for value in intervals]
    axis.errorbar(
        x, means, error_bars(intervals), color=color, marker=marker, capsize=2, elinewidth=1, label=name_of(key, 34)
    )
    axis.plot(x, [point.control for point in points], color=color, linestyle="--", linewidth=1)


def _table(entry: str, number: str, lines: Lines) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "entry": entry,
            "parameter": number,
            "line": key,
            "value": point.value,
            "psnr_mean": point.psnr.mean,
            "psnr_low": point.psnr.low,
            "psnr_high": point.psnr.high,
            "best_control_psnr": point.control,
            "n_batches": point.psnr.n,
        }
        for key, points in lines.items()
        for point in points
    ]
    return pd.DataFrame(rows)
