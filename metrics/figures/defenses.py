"""Leakage against utility: what a defense still leaks, beside what it leaves of the update or of the accuracy."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, is_narrow, key_below, look_of, name_of, panels_in_a_row
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
    wrap_key,
)
from gradinv.metrics.statistics import undominated

MEASURES = ("psnr", "structure", "identity_lowpass")
_UTILITY = {
    "accuracy_mean": "accuracy after\na training",
    "update_cosine": "cosine of the\nupdate kept",
}
_PANEL, _NARROW, _NAMES, _ROW, _AXIS, _HEAD = 2.0, 1.4, 1.6, 0.2, 0.7, 1.6  # inches
_LETTERS, _FONT = 34, 6.5  # of a defense's name
_SPREAD = 0.6
"""Of the distance of two rows: how far the attacks of one lie apart."""
_RING: dict[str, Any] = {"marker": "o", "ms": 8, "fillstyle": "none", "color": DARK_GREY, "linestyle": "none"}
_NUMBERS = ("accuracy_mean", "accuracy_low", "accuracy_high")


def defense_drawings(records: Sequence[Record], runs: Sequence[Path] = ()) -> Iterator[Drawing]:
    """Draw `defenses-*` for each setting that was run under two or more defenses, as PNG, PDF and CSV.

    Of an attacker who knows the defense and one who does not, the figure shows whoever leaks more. Utility is the
    accuracy of a training with the defense, where a run directory has it of every defense, else the update's cosine.
    Beside it stands what a client uploads a round, where that is not the same for all.
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
        "upload_bytes": mean([run.upload_bytes for run in runs if run.upload_bytes is not None]),
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
    """A row for each defense, the cheapest on top: its utility, and beside it what leaks, a panel a measure."""
    measures, utility = list(dict.fromkeys(table["measure"])), _axis_of(table)
    # In rows names cannot lie over each other, however many defenses leak alike; on two axes of numbers they do.
    kept = table.groupby("defense", sort=False)[utility].mean()
    defenses = list(kept.sort_values(ascending=False, kind="stable").index)
    costs = 2 if _uploads_differ(table) else 1
    figure, axes = _rows_of_panels(costs + len(measures), len(defenses))
    _utility_panel(axes[0], table, utility, defenses)
    if costs == 2:
        _upload_panel(axes[1], table, defenses)
    for axis, measure in zip(axes[costs:], measures, strict=True):
        shown = table[(table["measure"] == measure) & table["worse_of_two"]]
        _panel(axis, shown, defenses)
        facts = facts_of(measure)
        axis.set_xlabel(facts.heading.replace(" (", "\n(") if facts else measure)
        if sign_of(measure) < 0:
            axis.invert_xaxis()
    axes[0].set_yticks(range(len(defenses)), [wrap_key(name, _LETTERS) for name in defenses])
    axes[0].set_ylim(len(defenses) - 0.5, -0.5)
    handles, labels = axes[costs].get_legend_handles_labels()
    key_below(figure, handles, labels, columns=4)
    head(figure, _heading(scene.title, scene.setting, table), scene.absent)
    return figure


def _rows_of_panels(panels: int, names: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels that share their names, beside each other or in two rows where it is narrow."""
    columns = panels_in_a_row(panels, _NARROW, beside=_NAMES)
    rows = -(-panels // columns)
    figure = canvas(_NAMES + _PANEL * columns, _HEAD + rows * (_AXIS + _ROW * names), lowest=1.0)
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axis in axes:
        axis.tick_params("y", labelsize=_FONT)
        axis.locator_params("x", nbins=3 if is_narrow() else 4)
    for axis in axes[panels:]:
        axis.set_visible(False)
    return figure, axes[:panels]


def _utility_panel(axis: Axes, table: pd.DataFrame, utility: str, defenses: Sequence[str]) -> None:
    """What a defense leaves, the same for all attacks, but for draws of noise that differ: their mean."""
    rows = table.groupby("defense", sort=False).mean(numeric_only=True).loc[list(defenses)]
    errors = None
    if utility == "accuracy_mean":
        errors = [rows[utility] - rows["accuracy_low"], rows["accuracy_high"] - rows[utility]]
    axis.errorbar(
        rows[utility], range(len(rows)), xerr=errors, color=DARK_GREY, fmt="o", capsize=2, elinewidth=0.7, ms=4
    )
    axis.set_xlabel(_UTILITY[utility])


def _uploads_differ(table: pd.DataFrame) -> bool:
    uploads = table["upload_bytes"] if "upload_bytes" in table else pd.Series(dtype=float)
    return bool(len(uploads)) and bool(uploads.notna().all()) and uploads.nunique() > 1


def _upload_panel(axis: Axes, table: pd.DataFrame, defenses: Sequence[str]) -> None:
    """What a client uploads a round, on an axis of magnitudes: defenses that compress lie decades apart."""
    uploads = table.groupby("defense", sort=False)["upload_bytes"].mean().loc[list(defenses)] / 1e3
    axis.set_xscale("log")
    axis.plot(uploads, range(len(uploads)), color=DARK_GREY, marker="s", linestyle="none", ms=4)
    axis.set_xlabel("upload a round\n(kB)")


def _panel(axis: Axes, shown: pd.DataFrame, defenses: Sequence[str]) -> None:
    """One measure: every attack's mean with its interval, its best control as a bar, a ring on the front."""
    places = {name: place for place, name in enumerate(defenses)}
    keys = list(dict.fromkeys(shown["key"]))
    leakage = shown["mean"] * sign_of(str(shown["measure"].iloc[0]))
    most = set(leakage.groupby(shown["defense"], sort=False).idxmax())
    for index, key in enumerate(keys):
        rows = shown[shown["key"] == key]
        # A little below each other, so that no interval hides another.
        y = rows["defense"].map(places) + _SPREAD * ((index + 0.5) / len(keys) - 0.5)
        color, marker = look_of(str(key))
        errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axis.errorbar(rows["mean"], y, xerr=errors, color=color, marker=marker, linestyle="none", ms=4, capsize=1.5,
                      elinewidth=0.7, label=name_of(str(key)))  # fmt: skip
        axis.plot(rows["best_control"], y, marker="|", markersize=6, color=color, linestyle="none")
        ringed = rows["on_front"] & rows.index.isin(most)
        axis.plot(rows["mean"][ringed], y[ringed], **_RING)
    # One entry for all bars and all rings: each attack's own would double the legend.
    axis.plot([], [], color=GREY, marker="|", markersize=6, linestyle="none", label=f"bar: {BEST_CONTROL}")
    axis.plot([], [], **_RING, label="front")


def _heading(title: str, setting: Setting, table: pd.DataFrame) -> str:
    attackers = "of who knows the defense and who does not, the one who leaks more"
    told = attackers if table["adaptive"].any() else "the attacker does not know the defense"
    return (
        f"What does a defense protect, and what does it cost?\n{title}\n{granted(setting)}\nMean over batches with "
        f"95 % intervals; {told}.\nFurther right leaks more; a marker on its bar leaks nothing. Front: nobody leaks "
        "less at no less utility.\nIdentity: normalised rank of the original, 0: named, 0.5: chance."
    )
