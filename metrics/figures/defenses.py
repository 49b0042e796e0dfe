"""Leakage against utility: what a defense still leaks, beside what it leaves of the update or of the accuracy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, key_below, look_of, name_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, interval_of, scenes
from gradinv.metrics.figures.style import BEST_CONTROL, DARK_GREY, GREY
from gradinv.metrics.records import Cell, Record, Setting, batch_means, controls_of, granted, mean

UTILITY_TABLE = "utility.csv"
"""What `gradinv utility` writes, looked for beside the trials: accuracy with each defense."""
_PLACE = ("dataset", "image_size", "victim", "victim_seed")
_NUMBERS = ("accuracy_mean", "accuracy_low", "accuracy_high")
Utility = Mapping[tuple[str, ...], Mapping[str, float]]


def defense_drawings(records: Sequence[Record], runs: Sequence[Path] = ()) -> Iterator[Drawing]:
    """Draw `defenses-*` for each setting that was run under two or more defenses, as PNG, PDF and CSV.

    Of an attacker who knows the defense and one who does not, the figure shows whoever leaks more. Utility is the
    accuracy of a training with the defense, where a run directory has it of every defense, else the update's cosine.
    """
    undefended = {"defense": "none", "adaptive": False}
    shown = scenes(records, lambda trial: trial.is_scored, without=tuple(undefended), stand_ins=undefended)
    return _drawings(shown, _utility(runs))


def _drawings(shown: Iterable[Scene], utility: Utility) -> Iterator[Drawing]:
    for scene in shown:
        table = _table(scene, utility)
        if not table.empty and table["defense"].nunique() > 1:
            yield Drawing(f"defenses-{scene.name}", partial(_figure, scene, table), table)


def _utility(runs: Sequence[Path]) -> Utility:
    tables = [pd.read_csv(run / UTILITY_TABLE) for run in runs if (run / UTILITY_TABLE).is_file()]
    return {
        tuple(str(row[name]) for name in (*_PLACE, "defense")): {name: float(row[name]) for name in _NUMBERS}
        for table in tables
        for row in table.to_dict("records")
    }


def _table(scene: Scene, utility: Utility) -> pd.DataFrame:
    """One row per attack, defense and attacker that has values and says what is left of the update."""
    place = tuple(str(scene.setting[name]) for name in _PLACE)
    table = pd.DataFrame([
        {**row, **utility.get((*place, cell.defense), {})}
        for cell, runs in scene.trials.items()
        for row in _row(cell, runs, scene.trials)
    ])  # fmt: skip
    if table.empty:
        return table
    strongest = table.groupby(["key", "defense"])["psnr_mean"].transform("max")
    # Of two that leak alike the first: one marker for each attack and defense.
    table["worse_of_two"] = (table["psnr_mean"] == strongest) & ~table[["key", "defense", "psnr_mean"]].duplicated()
    table["on_front"] = table["defense"].isin(pareto_front(table, _axis_of(table)))
    return table


def _row(cell: Cell, runs: Sequence[Record], trials: Trials) -> Iterator[dict[str, Any]]:
    cosine = mean([run.update_cosine for run in runs if run.update_cosine is not None])
    psnr = interval_of(runs, "psnr")
    # Controls are the bars; without a cosine there is no place on the axis.
    if cell.is_control or cosine is None or not psnr.n:
        return
    controls = [mean(list(batch_means(trials[control], "psnr").values())) for control in controls_of(cell, trials)]
    yield {
        "key": cell.key,
        "defense": cell.defense,
        "adaptive": cell.adaptive,
        "update_cosine": cosine,
        "psnr_mean": psnr.mean,
        "psnr_low": psnr.low,
        "psnr_high": psnr.high,
        "structure_mean": interval_of(runs, "structure").mean,
        "best_control_psnr": max((value for value in controls if value is not None), default=None),
        "n_batches": psnr.n,
    }


def _axis_of(table: pd.DataFrame) -> str:
    """The column that utility is read from: accuracy where every defense has it."""
    has_accuracy = "accuracy_mean" in table and table["accuracy_mean"].notna().all()
    return "accuracy_mean" if has_accuracy else "update_cosine"


def pareto_front(table: pd.DataFrame, utility: str) -> list[str]:
    """The defenses that no other beats in one of leakage (PSNR of the strongest attack) and `utility`, and equals in
    the other.

    >>> table = pd.DataFrame({"defense": ["a", "b", "c"], "psnr_mean": [30, 10, 12], "accuracy": [0.9, 0.7, 0.6]})
    >>> pareto_front(table, "accuracy")
    ['a', 'b']
    """
    points = table.groupby("defense", sort=False).agg({"psnr_mean": "max", utility: "mean"})
    front = []
    for defense, point in points.iterrows():
        no_worse = (points["psnr_mean"] <= point["psnr_mean"]) & (points[utility] >= point[utility])
        better = (points["psnr_mean"] < point["psnr_mean"]) | (points[utility] > point[utility])
        if not (no_worse & better).any():
            front.append(str(defense))
    return front


def _figure(scene: Scene, table: pd.DataFrame) -> Figure:
    figure = canvas(7.5, 5)
    axis, utility = figure.subplots(), _axis_of(table)
    shown = table[table["worse_of_two"]]
    for key, rows in shown.groupby("key", sort=False):
        color, marker = look_of(str(key))
        errors = [rows["psnr_mean"] - rows["psnr_low"], rows["psnr_high"] - rows["psnr_mean"]]
        sideways = None
        if utility == "accuracy_mean":
            sideways = [rows[utility] - rows["accuracy_low"], rows["accuracy_high"] - rows[utility]]
        x, y = rows[utility], rows["psnr_mean"]
        axis.errorbar(
            x,
            y,
            errors,
            sideways,
            color=color,
            marker=marker,
            linestyle="none",
            capsize=2,
            elinewidth=0.7,
            label=name_of(str(key)),
        )
        axis.plot(x, rows["best_control_psnr"], color=color, marker="_", markersize=14, linestyle="none")
    _name(axis, shown, utility)
    # One entry for all bars: each attack's own would double the legend.
    axis.plot([], [], color=GREY, marker="_", markersize=14, linestyle="none", label=f"bar: {BEST_CONTROL}")
    words = {
        "accuracy_mean": "accuracy after a federated training with the defense",
        "update_cosine": "cosine of the update before and after the defense (1: nothing lost)",
    }
    axis.set(xlabel=words[utility], ylabel="PSNR (dB): lower leaks less")
    handles, labels = axis.get_legend_handles_labels()
    key_below(figure, handles, labels, columns=2)
    head(
        figure,
        _heading(scene.title, scene.setting, table),
        scene.absent,
    )
    return figure


def _name(axis: Axes, shown: pd.DataFrame, utility: str) -> None:
    """The defense's name at its highest marker, so that it hides none; in bold, with a ring, on the Pareto front."""
    for defense, rows in shown.groupby("defense", sort=False):
        on_front = bool(rows["on_front"].iloc[0])
        place = (rows[utility].iloc[0], rows["psnr_mean"].max())
        weight = "bold" if on_front else "normal"
        axis.annotate(str(defense), place, xytext=(4, 8), textcoords="offset points", fontsize=6, fontweight=weight)
        if on_front:
            axis.plot(*place, marker="o", markersize=11, fillstyle="none", color=DARK_GREY, linestyle="none")
    axis.plot([], [], marker="o", markersize=11, fillstyle="none", color=DARK_GREY, linestyle="none", label="front")


def _heading(title: str, setting: Setting, table: pd.DataFrame) -> str:
    # The title is made as of an undefended client; of the defense, the axis and the labels say more.
    heading = f"{title}\n{granted(setting)}".replace(" · no defense", "")
    attackers = "of who knows the defense and who does not, the one who leaks more"
    told = attackers if table["adaptive"].any() else "the attacker does not know the defense"
    return (
        f"What does a defense protect, and what does it cost?\n{heading}\nMean over batches with 95 % intervals; {told}"
        ".\nA marker on its bar leaks nothing. Front: nobody leaks less at no less utility."
    )
