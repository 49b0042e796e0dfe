"""Attacks beside their controls, a row for everything that a field takes: what was granted, or the victims."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.defenses import MEASURES, sign_of
from gradinv.metrics.figures.presentation import canvas, head, is_narrow, key_below, look_of, name_of, panels_in_a_row
from gradinv.metrics.figures.skeleton import Drawing, Scene, interval_of, scenes
from gradinv.metrics.figures.style import DARK_GREY, GREY, error_bars
from gradinv.metrics.images import facts_of
from gradinv.metrics.records import Cell, Record, controls_of
from gradinv.metrics.statistics import Interval

_WORDS = {
    "labels": "labels {}",
    "bn_mode": "{} mode",
    "buffers": "buffers {}",
    "bn_statistics": "statistics {}",
    "auxiliary_images": "auxiliary images {}",
    "simulation": "simulation {}",
}
"""Fields of what is granted, and of what decides what can be, in words."""
_MARKS = {
    "other_gradient": "x",
    "noise_gradient": "1",
    "prior_only": "|",
    "other_statistics": "d",
    "no_statistics": "+",
    "same_class": "2",
    "mean_image": ".",
}
"""Control -> its mark on the line of its attack; a plug-in's control has `_OTHER_MARK`."""
_OTHER_MARK = "*"
_PANEL, _NARROW, _NAMES, _ROW, _AXIS, _HEAD = 2.6, 1.6, 1.8, 0.16, 0.7, 1.3  # inches
_LETTERS, _FONT = 36, 6.5  # of a row's name
_LEAST_VICTIMS = 3
_GRANTED = " Where prior_only lies as far, what is granted leaks without the gradient."
_SPREAD = 0.7
"""Of the distance of two rows: how far the victim seeds of one lie apart."""


@dataclass(frozen=True)
class Question:
    """What the rows of a figure are, how it is asked about, and what is said below the question."""

    asks: str
    says: str
    names: Mapping[Cell, str]
    """Attack -> what tells its row from the others."""


def grant_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `grants-*` for each setting in which attackers were granted two things or more, with its CSV.

    A row is an attack with what it was granted, a mark a victim seed; its controls stand on the same line.
    """
    without = (*_WORDS, "granted_numbers_per_pixel", "victim_seed")
    for scene in scenes(records, lambda trial: trial.is_scored, without):
        attacks = scene.attacks
        told = [field for field in _WORDS if len({getattr(cell, field) for cell in attacks}) > 1]
        if told:
            words = {cell: ", ".join(_WORDS[field].format(getattr(cell, field)) for field in told) for cell in attacks}
            yield from _drawing("grants", scene, words, "What is it worth to know more?", _GRANTED)


def victim_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `victims-*` for each setting of three networks or more (or states of one), with its CSV; rows as above."""
    without = ("victim", "victim_state", "victim_seed", "granted_numbers_per_pixel")
    stand_ins = {"victim": "networks", "victim_state": "in rows"}
    for scene in scenes(records, lambda trial: trial.is_scored, without, stand_ins):
        words = {cell: f"{cell.victim} ({cell.victim_state})" for cell in _by_structure(scene)}
        if len(set(words.values())) >= _LEAST_VICTIMS:
            yield from _drawing("victims", scene, words, "Which network gives most away?", "")


def _by_structure(scene: Scene) -> list[Cell]:
    """The attacks, those that leak most structure first; in the order of the suite where it was not measured."""
    # By structure and not by PSNR, which acquits pictures that show their original.
    shown = {cell: interval_of(scene.trials[cell], "structure") for cell in scene.attacks}
    return sorted(shown, key=lambda cell: -shown[cell].mean if shown[cell].n else 0.0)


def _drawing(kind: str, scene: Scene, words: Mapping[Cell, str], asks: str, says: str) -> Iterator[Drawing]:
    """The figure of a scene; rows are named by the words, and by the attack's key where there are several."""
    several = len(scene.attack_keys) > 1
    names = {cell: row + (f"\n{name_of(cell.key, _LETTERS)}" if several else "") for cell, row in words.items()}
    question = Question(asks, says, names)
    table = _table(scene, question)
    if not table.empty:  # a suite may measure none of what the panels show
        yield Drawing(f"{kind}-{scene.name}", partial(_figure, scene, question, table), table)


def _table(scene: Scene, question: Question) -> pd.DataFrame:
    """One row for each measure of an attack or a control that has values."""
    return pd.DataFrame([
        {
            "row": name,
            "key": attack.key,
            "control": cell.key.partition(" of ")[0] if cell.is_control else "",
            "victim_seed": attack.victim_seed,
            "metric": metric,
            "mean": values.mean,
            "low": values.low,
            "high": values.high,
            "n_batches": values.n,
        }
        for attack, name in question.names.items()
        for cell in (attack, *controls_of(attack, scene.trials))
        for metric in MEASURES
        if (values := interval_of(scene.trials[cell], metric)).n
    ])  # fmt: skip


def _figure(scene: Scene, question: Question, table: pd.DataFrame) -> Figure:
    metrics, rows = list(dict.fromkeys(table["metric"])), list(dict.fromkeys(table["row"]))
    seeds = sorted(set(table["victim_seed"]))
    columns = panels_in_a_row(len(metrics), _NARROW, beside=_NAMES)
    lines = -(-len(metrics) // columns)
    height = _ROW * max(len(seeds), 1 + max(name.count("\n") + 1 for name in rows)) * len(rows)
    figure = canvas(_NAMES + _PANEL * columns, _HEAD + lines * (_AXIS + height), lowest=1.0)
    axes = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for axis in axes[len(metrics) :]:
        axis.set_visible(False)
    for axis, metric in zip(axes, metrics, strict=False):
        _panel(axis, metric, table[table["metric"] == metric], rows)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)  # downwards, so that the first row stands on top
    # By name: every row marks its own controls, and the key needs each mark once.
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    key_below(figure, handles.values(), handles.keys(), columns=4)
    of_seeds = "" if len(seeds) == 1 else "; from above, victim seeds " + ", ".join(map(str, seeds))
    head(
        figure,
        f"{question.asks}\n{scene.title}\nMean over batches with its 95 % interval{of_seeds}.\n"
        f"Further right leaks more.{question.says}\n"
        "Identity: normalised rank of the original, 0: named, 0.5: chance.",
        scene.absent,
    )
    return figure


def _panel(axis: Axes, metric: str, table: pd.DataFrame, rows: Sequence[str]) -> None:
    seeds = sorted(set(table["victim_seed"]))
    for (name, seed, key), group in table.groupby(["row", "victim_seed", "key"], sort=False):
        place = rows.index(name) + _SPREAD * ((seeds.index(seed) + 0.5) / len(seeds) - 0.5)
        for row in group.itertuples():
            _mark(axis, place, str(key), row)
    facts = facts_of(metric)
    axis.set_xlabel(facts.heading.replace(" (", "\n(") if facts else metric)
    axis.tick_params("y", labelsize=_FONT)
    axis.locator_params("x", nbins=3 if is_narrow() else 5)
    if sign_of(metric) < 0:
        axis.invert_xaxis()


def _mark(axis: Axes, place: float, key: str, row: Any) -> None:
    if row.control:
        color = DARK_GREY if row.control in ("prior_only", "other_statistics", "no_statistics") else GREY
        axis.plot([row.mean], [place], color=color, marker=_MARKS.get(row.control, _OTHER_MARK), ms=6, linestyle="none",
                  label=row.control)  # fmt: skip
        return
    color, marker = look_of(key)
    errors = error_bars([Interval(row.mean, row.low, row.high, row.n_batches)])
    axis.errorbar([row.mean], [place], xerr=errors, color=color, marker=marker, linestyle="none", ms=4, capsize=1.5,
                  elinewidth=0.8, label=name_of(key))  # fmt: skip
