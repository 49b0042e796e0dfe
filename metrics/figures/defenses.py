"""Leakage against utility: what a defense still leaks, beside what it leaves of the update or of the accuracy."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, key_below, look_of, name_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, interval_of, scenes
from gradinv.metrics.figures.style import BEST_CONTROL, DARK_GREY, GREY
from gradinv.metrics.images import facts_of
from gradinv.metrics.records import (
    Cell,
    Prices,
    Record,
    Setting,
    batch_means,
    controls_of,
    granted,
    mean,
    read_prices,
    utility_place,
)
from gradinv.metrics.statistics import undominated

MEASURES = ("psnr", "structure", "identity_lowpass")
MOST_NAMES = 15
"""Defenses of one panel that are all named."""
_UTILITY = {
    "accuracy_mean": "accuracy after a federated training with the defense",
    "update_cosine": "cosine of the update before and after the defense (1: nothing lost)",
}
_NUMBERS = ("accuracy_mean", "accuracy_low", "accuracy_high")


def defense_drawings(records: Sequence[Record], runs: Sequence[Path] = ()) -> Iterator[Drawing]:
    """Draw `defenses-*` for each setting that was run under two or more defenses, as PNG, PDF and CSV.

    Of an attacker who knows the defense and one who does not, the figure shows whoever leaks more. Utility is the
    accuracy of a training with the defense, where a run directory has it of every defense, else the update's cosine.
    """
    undefended = {"defense": "none", "adaptive": False}
    shown = scenes(records, lambda trial: trial.is_scored, without=tuple(undefended), stand_ins=undefended)
    return _drawings(shown, read_prices(runs))


def _drawings(shown: Iterable[Scene], prices: Prices) -> Iterator[Drawing]:
    for scene in shown:
        table = _table(scene, prices)
        if not table.empty and table["defense"].nunique() > 1:
            yield Drawing(f"defenses-{scene.name}", partial(_figure, scene, table), table)


def _table(scene: Scene, prices: Prices) -> pd.DataFrame:
    """One row per measure, attack, defense and attacker that has values and says what is left of the update."""
    priced = prices.get(utility_place(scene.setting), {})
    table = pd.DataFrame([
        {**row, **{name: float(priced[cell.defense][name]) for name in _NUMBERS if cell.defense in priced}}
        for cell, runs in scene.trials.items()
        for measure in MEASURES
        for row in _row(measure, cell, runs, scene.trials)
    ])  # fmt: skip
    if table.empty:
        return table
    strongest = table.groupby(["measure", "key", "defense"])["leakage"].transform("max")
    # Of two that leak alike the first: one marker for each attack and defense.
    repeated = table[["measure", "key", "defense", "leakage"]].duplicated()
    table["worse_of_two"] = (table["leakage"] == strongest) & ~repeated
    table["on_front"] = False
    for measure, rows in table.groupby("measure"):
        points = rows.groupby("defense", sort=False).agg({"leakage": "max", _axis_of(table): "mean"})
        # More is better in both places: little leakage is much of its negative.
        front = undominated({str(name): (-leakage, utility) for name, leakage, utility in points.itertuples()})
        table.loc[(table["measure"] == measure) & table["defense"].isin(front), "on_front"] = True
    return table.drop(columns="leakage")


def _row(measure: str, cell: Cell, runs: Sequence[Record], trials: Trials) -> Iterator[dict[str, Any]]:
    cosine = mean([run.update_cosine for run in runs if run.update_cosine is not None])
    values, sign = interval_of(runs, measure), sign_of(measure)
    # Controls are the bars; without a cosine there is no place on the axis.
    if cell.is_control or cosine is None or not values.n:
        return
    controls = [mean(list(batch_means(trials[control], measure).values())) for control in controls_of(cell, trials)]
    yield {
        "measure": measure,
        "key": cell.key,
        "defense": cell.defense,
        "adaptive": cell.adaptive,
        "update_cosine": cosine,
        "mean": values.mean,
        "low": values.low,
        "high": values.high,
        "best_control": max((value for value in controls if value is not None), default=None, key=lambda v: sign * v),
        "n_batches": values.n,
        "leakage": sign * values.mean,
    }


def sign_of(measure: str) -> float:
    """1 where a higher value leaks more, -1 where a lower one does."""
    facts = facts_of(measure)
    return facts.sign if facts else 1.0


def _axis_of(table: pd.DataFrame) -> str:
    """The column that utility is read from: accuracy where every defense has it."""
    has_accuracy = "accuracy_mean" in table and table["accuracy_mean"].notna().all()
    return "accuracy_mean" if has_accuracy else "update_cosine"


def _figure(scene: Scene, table: pd.DataFrame) -> Figure:
    measures = list(dict.fromkeys(table["measure"]))
    figure, utility = canvas(7.5, 1.5 + 3.2 * len(measures)), _axis_of(table)
    axes = figure.subplots(len(measures), sharex=True, squeeze=False)[:, 0]
    for axis, measure in zip(axes, measures, strict=True):
        _panel(axis, table[(table["measure"] == measure) & table["worse_of_two"]], utility)
        facts = facts_of(measure)
        axis.set_ylabel(facts.heading if facts else measure)
        if sign_of(measure) < 0:
            axis.invert_yaxis()
    axes[-1].set_xlabel(_UTILITY[utility])
    key_below(figure, *axes[0].get_legend_handles_labels(), columns=2)
    head(figure, _heading(scene.title, scene.setting, table), scene.absent)
    return figure


def _panel(axis: Axes, shown: pd.DataFrame, utility: str) -> None:
    for key, rows in shown.groupby("key", sort=False):
        color, marker = look_of(str(key))
        errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        sideways = None
        if utility == "accuracy_mean":
            sideways = [rows[utility] - rows["accuracy_low"], rows["accuracy_high"] - rows[utility]]
        axis.errorbar(
            rows[utility],
            rows["mean"],
            errors,
            sideways,
            color=color,
            marker=marker,
            linestyle="none",
            capsize=2,
            elinewidth=0.7,
            label=name_of(str(key)),
        )
        axis.plot(rows[utility], rows["best_control"], marker="_", markersize=14, color=color, linestyle="none")
    _name(axis, shown, utility)
    # One entry for all bars: each attack's own would double the legend.
    axis.plot([], [], color=GREY, marker="_", markersize=14, linestyle="none", label=f"bar: {BEST_CONTROL}")


def _name(axis: Axes, shown: pd.DataFrame, utility: str) -> None:
    """The defense's name at the marker that leaks most, so that it hides none; bold, with a ring, on the front.

    Of many defenses those on the front alone are named: the others would hide them.
    """
    names_all = shown["defense"].nunique() <= MOST_NAMES
    leakage = shown["mean"] * sign_of(str(shown["measure"].iloc[0]))
    for place in leakage.groupby(shown["defense"], sort=False).idxmax():
        row = shown.loc[place].to_dict()
        point, weight = (row[utility], row["mean"]), "bold" if row["on_front"] else "normal"
        if row["on_front"] or names_all:
            axis.annotate(
                row["defense"], point, xytext=(4, 8), textcoords="offset points", fontsize=6, fontweight=weight
            )
        if row["on_front"]:
            axis.plot(*point, marker="o", markersize=11, fillstyle="none", color=DARK_GREY, linestyle="none")
    axis.plot([], [], marker="o", markersize=11, fillstyle="none", color=DARK_GREY, linestyle="none", label="front")


def _heading(title: str, setting: Setting, table: pd.DataFrame) -> str:
    attackers = "of who knows the defense and who does not, the one who leaks more"
    told = attackers if table["adaptive"].any() else "the attacker does not know the defense"
    return (
        f"What does a defense protect, and what does it cost?\n{title}\n{granted(setting)}\nMean over batches with "
        f"95 % intervals; {told}.\nHigher leaks more; a marker on its bar leaks nothing. Front: nobody leaks less at "
        "no less utility."
    )
