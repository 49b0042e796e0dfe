"""Leakage against utility: what a defense still leaks, beside what it leaves of the update that is learned from."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, interval_of, scenes
from gradinv.metrics.figures.style import BEST_CONTROL, GREY, look
from gradinv.metrics.records import Record, batch_means, controls_of, granted, mean


def defense_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `defenses-*` for each setting that was run under two or more defenses, as PNG, PDF and CSV."""
    undefended = {"defense": "none", "adaptive": False}
    shown = scenes(records, lambda trial: trial.is_scored, without=tuple(undefended), stand_ins=undefended)
    return _drawings(shown)


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        table = _table(scene.trials)
        if not table.empty and table["defense"].nunique() > 1:
            yield Drawing(f"defenses-{scene.name}", partial(_figure, scene, table), table)


def _table(trials: Trials) -> pd.DataFrame:
    """One row per attack and defense that has values and says what is left of the update."""
    rows: list[dict[str, Any]] = []
    for cell, runs in trials.items():
        cosine = mean([run.update_cosine for run in runs if run.update_cosine is not None])
        psnr = interval_of(runs, "psnr")
        # Controls are the bars; without a cosine there is no place on the axis.
        if cell.is_control or cosine is None or not psnr.n:
            continue
        controls = [mean(list(batch_means(trials[control], "psnr").values())) for control in controls_of(cell, trials)]
        rows.append({
            "key": cell.key,
            "defense": cell.defense,
            "update_cosine": cosine,
            "psnr_mean": psnr.mean,
            "psnr_low": psnr.low,
            "psnr_high": psnr.high,
            "best_control_psnr": max((value for value in controls if value is not None), default=None),
            "n_batches": psnr.n,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _figure(scene: Scene, table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    for index, (key, rows) in enumerate(table.groupby("key", sort=False)):
        color, marker = look(index)
        errors = [rows["psnr_mean"] - rows["psnr_low"], rows["psnr_high"] - rows["psnr_mean"]]
        x, y = rows["update_cosine"], rows["psnr_mean"]
        axis.errorbar(x, y, yerr=errors, color=color, marker=marker, linestyle="none", capsize=2, label=key)
        axis.plot(x, rows["best_control_psnr"], color=color, marker="_", markersize=14, linestyle="none")
    # At the highest marker of its defense, so that the name hides none of them.
    for defense, rows in table.groupby("defense", sort=False):
        axis.annotate(
            str(defense),
            (rows["update_cosine"].iloc[0], rows["psnr_mean"].max()),
            xytext=(4, 8),
            textcoords="offset points",
            fontsize=7,
        )
    # One entry for all bars: each attack's own would double the legend.
    axis.plot([], [], color=GREY, marker="_", markersize=14, linestyle="none", label=f"bar: {BEST_CONTROL}")
    axis.set(
        xlabel="cosine of the update before and after the defense (1: nothing lost)",
        ylabel="PSNR (dB): lower leaks less",
    )
    figure.legend(loc="outside lower center", ncols=2)
    # The title is made as of an undefended client; of the defense, the axis and the labels say more.
    heading = f"{scene.title}\n{granted(scene.setting)}".replace(" · no defense", "")
    figure.suptitle(
        f"What does a defense protect, and what does it cost?\n{heading}\nMean over batches with 95 % intervals. A "
        "marker on its bar leaks nothing; the attacker does not know the defense.",
        fontsize=9,
    )
    return figure
