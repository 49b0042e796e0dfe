"""The figure of a sweep: what is measured over the values of one number of a setting, beside the controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, key_below, look_of, name_of, panels_in_a_row, two_lines
from gradinv.metrics.figures.skeleton import Drawing, Scene, interval_of, scenes
from gradinv.metrics.figures.style import BEST_CONTROL, DARK_GREY, error_bars
from gradinv.metrics.images import facts_of, judge_of
from gradinv.metrics.keys import Key, parse_key
from gradinv.metrics.records import Cell, Record, controls_of, granted, short_name
from gradinv.metrics.registry import InvalidEntryError
from gradinv.metrics.statistics import Interval

LEAST_POINTS = 3
"""Values of a number that make a sweep."""
_DECADE = 10
"""From the smallest to the largest value: beyond it the axis is logarithmic."""
_KEYS = ("attack", "defense", "victim", "update")
"""Fields that hold a key, whose numbers may be swept."""
_COUNTS: Mapping[str, Sequence[str]] = {"budget": (), "observations": (), "equal_labels": ("max_equal_labels",)}
"""Fields that are a number themselves -> fields that go along with them: distinct labels may not be equal at all."""
_MOST_TICKS = 8
"""Values of which each has its tick."""


@dataclass(frozen=True)
class Point:
    """One value of the number that is swept, with what was measured there: metric -> mean, and the best control's."""

    value: float
    measured: Mapping[str, Interval]
    control: Mapping[str, float]


Lines = Mapping[str, Sequence[Point]]
"""What a line is of, in words -> its points, by value."""


@dataclass(frozen=True)
class Number:
    """A number that an entry is set to, in one cell; the entry with all that stands beside the number."""

    entry: str
    name: str
    value: float
    line: str


def sweep_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `sweep-*` for every number of a setting that has three values, its other fields being equal, with its CSV.

    Swept are the numbers of an attack, a defense, a victim (`round`, `epochs`) and an update (`epochs`, `lr`), and
    fields that are numbers. PSNR has a panel, structure, and every judge of identity: one may see what others do not.
    """
    for field in (*_KEYS, *_COUNTS):
        for scene in _scenes(records, field):
            for (entry, number), lines in _sweeps(scene, field).items():
                names = [field, number] if field in _COUNTS else [field, *_words_of_file(entry), number]
                stem = short_name("-".join(["sweep", *dict.fromkeys(names), scene.name]))
                yield Drawing(stem, partial(_figure, scene, entry, number, lines), _table(entry, number, lines))


def _words_of_file(entry: str) -> list[str]:
    key = parse_key(entry)
    return [key.name, *([key.preset] if key.preset else []), *(f"{name}={it}" for name, it in key.parameters.items())]


def _scenes(records: Sequence[Record], field: str) -> Iterator[Scene]:
    """Settings that differ in the field alone and in the victim's seed, of which each has a line of its own."""
    without = ("victim_seed",) if field == "attack" else (field, *_COUNTS.get(field, ()), "victim_seed")
    for entry, of_entry in _by_entry(records, field).items():
        # What titles say in place of the field: an entry without its numbers, or nothing unusual.
        words = {"attack": {}, "defense": {"defense": "none"}, "victim": {"victim": entry}, "update": {"update": entry}}
        stand_ins = words.get(field, {field: 1})
        yield from scenes(of_entry, lambda trial: trial.is_scored, without, stand_ins)


def _by_entry(records: Sequence[Record], field: str) -> dict[str, list[Record]]:
    """The records of each victim's or update's name, which titles need; of every other field all together."""
    if field not in ("victim", "update"):
        return {"": list(records)}
    groups: dict[str, list[Record]] = {}
    for record in records:
        key = _key(getattr(record.cell, field))
        if key is not None:
            groups.setdefault(key.name, []).append(record)
    return groups


def _key(text: str) -> Key | None:
    try:
        return parse_key(text)
    except InvalidEntryError:  # composed defenses are no single key, and neither is every name of a network
        return None


def _sweeps(scene: Scene, field: str) -> dict[tuple[str, str], dict[str, list[Point]]]:
    """(entry, number) -> its lines: cells that differ in that number alone."""
    several_seeds = len({cell.victim_seed for cell in scene.attacks}) > 1
    every: dict[tuple[str, str], dict[str, list[tuple[float, Cell]]]] = {}
    # By attack: its seeds stand together in the key.
    for cell in sorted(scene.attacks, key=lambda attack: scene.attack_keys.index(attack.key)):
        for number in _numbers(cell, field):
            line = number.line + (f", seed {cell.victim_seed}" if several_seeds else "")
            lines = every.setdefault((number.entry, number.name), {})
            lines.setdefault(line, []).append((number.value, cell))
    return {names: swept for names, lines in every.items() if (swept := _points(lines, scene))}


def _points(lines: Mapping[str, Sequence[tuple[float, Cell]]], scene: Scene) -> dict[str, list[Point]]:
    """The lines with enough values, each measured once, in their order."""
    return {
        words: [_point(cell, value, scene) for value, cell in sorted(cells, key=lambda pair: pair[0])]
        for words, cells in lines.items()
        if len({value for value, _ in cells}) == len(cells) >= LEAST_POINTS
    }


def _numbers(cell: Cell, field: str) -> Iterator[Number]:
    """Each number that a cell's field is, or that its entry is set to."""
    line = f"{cell.key}, who knows the defense" if cell.adaptive else cell.key
    if field in _COUNTS:
        value = str(getattr(cell, field))
        if value.isdecimal():  # a budget that is the preset's own is no number
            yield Number(field, field, float(value), line)
        return
    key = _key(cell.key if field == "attack" else getattr(cell, field))
    if key is None:
        return
    for number, value in key.parameters.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            others = {other: it for other, it in key.parameters.items() if other != number}
            rest = str(Key(key.name, key.preset, others))
            # An attack's other numbers tell lines of one figure apart; any other entry's have figures of their own.
            entry, words = (str(Key(key.name, key.preset)), rest) if field == "attack" else (rest, line)
            yield Number(entry, number, float(value), words)


def _point(cell: Cell, value: float, scene: Scene) -> Point:
    runs = scene.trials[cell]
    metrics = ["psnr", *(["structure"] if interval_of(runs, "structure").n else [])]
    metrics += dict.fromkeys(judge for run in runs for judge in run.judges if judge_of(judge))
    controls = controls_of(cell, scene.trials)
    means = {metric: [interval_of(scene.trials[control], metric).mean for control in controls] for metric in metrics}
    return Point(
        value,
        {metric: interval_of(runs, metric) for metric in metrics},
        {metric: _best(metric, of_controls) for metric, of_controls in means.items()},
    )


def _best(metric: str, means: Sequence[float]) -> float:
    measured = [mean for mean in means if not np.isnan(mean)]
    return max(measured, key=lambda mean: _sign(metric) * mean, default=np.nan)


def _sign(metric: str) -> float:
    facts = facts_of(metric)
    return 1.0 if facts is None else facts.sign


def _figure(scene: Scene, entry: str, number: str, lines: Lines) -> Figure:
    metrics = list(dict.fromkeys(metric for points in lines.values() for point in points for metric in point.measured))
    columns = panels_in_a_row(len(metrics), 4.75)
    rows = -(-len(metrics) // columns)
    figure = canvas(5.5 if len(metrics) == 1 else 4.75 * columns, 4.4 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(metrics) :]:
        axis.remove()
    for axis, metric in zip(axes, metrics, strict=False):
        _panel(axis, metric, entry, number, lines)
    handles, labels = axes[0].get_legend_handles_labels()
    key_below(figure, handles, labels, columns=2)
    swept = number if entry == number else f"{number} of {entry}"
    head(
        figure,
        f"What changes with {swept}?\n{scene.title}\n{granted(scene.setting)}\n"
        "Mean over batches with its 95 % interval.",
        scene.absent,
    )
    return figure


def _panel(axis: Axes, metric: str, entry: str, number: str, lines: Lines) -> None:
    for key, points in lines.items():
        _line(axis, metric, key, [point for point in points if metric in point.measured])
    # One entry for all dashed lines: each attack's own would double the key.
    axis.plot([], [], color=DARK_GREY, linestyle="--", label=f"dashed: {BEST_CONTROL} of each")
    facts = facts_of(metric)
    heading = metric if facts is None else two_lines(facts.heading, f"{facts.direction} is better")
    axis.set(xlabel=number if entry == number else f"{number} of {name_of(entry)}", ylabel=heading)
    values = [point.value for points in lines.values() for point in points]
    ticks, decade = sorted(set(values)), min(values) > 0 and max(values) >= _DECADE * min(values)
    if decade:
        axis.set_xscale("log")
    if decade or len(ticks) <= _MOST_TICKS:
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()


def _line(axis: Axes, metric: str, key: str, points: Sequence[Point]) -> None:
    color, marker = look_of(key)
    x, intervals = [point.value for point in points], [point.measured[metric] for point in points]
    means = [value.mean for value in intervals]
    axis.errorbar(
        x, means, error_bars(intervals), color=color, marker=marker, capsize=2, elinewidth=1, label=name_of(key, 34)
    )
    axis.plot(x, [point.control[metric] for point in points], color=color, linestyle="--", linewidth=1)


def _table(entry: str, number: str, lines: Lines) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "entry": entry,
            "parameter": number,
            "line": key,
            "value": point.value,
            "metric": metric,
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "best_control": point.control[metric],
            "n_batches": interval.n,
        }
        for key, points in lines.items()
        for point in points
        for metric, interval in point.measured.items()
    ]
    return pd.DataFrame(rows)
