"""Leakage against utility: what a defense still leaks, beside what it leaves of the update that is learned from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from gradinv.metrics.figures.style import GREY, drawing, look, save, write_table
from gradinv.metrics.records.reading import batch_means, controls_of, mean, trials_by_cell
from gradinv.metrics.records.record import Cell, Record
from gradinv.metrics.records.settings import by_setting, granted, slug, title, varying
from gradinv.metrics.statistics.intervals import interval
from matplotlib.figure import Figure

Trials = Mapping[Cell, Sequence[Record]]


def draw_defenses(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw `defenses-*` for each setting that was run under two or more defenses, as PNG, PDF and CSV."""
    trials = {cell: [t for t in runs if t.is_scored] for cell, runs in trials_by_cell(records).items()}
    groups = by_setting([cell for cell in trials if trials[cell]], without=("defense", "adaptive"))
    also = varying({**setting, "defense": "", "adaptive": False} for setting, _ in groups)
    paths: list[Path] = []
    with drawing():
        for setting, cells in groups:
            here = {cell: trials[cell] for cell in cells}
            table = _table(here)
            if table.empty or table["defense"].nunique() < 2:
                continue
            named = {**setting, "defense": "none", "adaptive": False}
            stem = out_dir / f"defenses-{slug(named, also)}"
            paths += save(_figure(f"{title(named, also)}\n{granted(named)}".replace(" · no defense", ""), table), stem)
            paths.append(write_table(table, stem))
    return paths


def _table(trials: Trials) -> pd.DataFrame:
    """One row per attack and defense that has values and says what is left of the update."""
    rows: list[dict[str, Any]] = []
    for cell, runs in trials.items():
        cosine = mean([run.update_cosine for run in runs if run.update_cosine is not None])
        psnr = interval(list(batch_means(runs, "psnr").values()))
        if cell.is_control or cosine is None or not psnr.n:
            continue
        controls = [mean(list(batch_means(trials[one], "psnr").values())) for one in controls_of(cell, trials)]
        known = [value for value in controls if value is not None]
        rows.append(
            {"key": cell.key, "defense": cell.defense, "update_cosine": cosine, "psnr_mean": psnr.mean,
             "psnr_low": psnr.low, "psnr_high": psnr.high, "best_control_psnr": max(known, default=None),
             "n_batches": psnr.n}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _figure(heading: str, table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    for index, (key, rows) in enumerate(table.groupby("key", sort=False)):
        color, marker = look(index)
        errors = [rows["psnr_mean"] - rows["psnr_low"], rows["psnr_high"] - rows["psnr_mean"]]
        x, y = rows["update_cosine"], rows["psnr_mean"]
        axis.errorbar(x, y, yerr=errors, color=color, marker=marker, linestyle="none", capsize=2, label=key)
        axis.plot(x, rows["best_control_psnr"], color=color, marker="_", markersize=14, linestyle="none")
    for defense, rows in table.groupby("defense", sort=False):
        axis.annotate(
            str(defense), (rows["update_cosine"].iloc[0], rows["psnr_mean"].max()), xytext=(4, 8),
            textcoords="offset points", fontsize=7,
        )  # fmt: skip
    axis.plot([], [], color=GREY, marker="_", markersize=14, linestyle="none", label="bar: best control")
    axis.set(
        xlabel="cosine of the update before and after the defense (1: nothing lost)",
        ylabel="PSNR (dB): lower leaks less",
    )
    figure.legend(loc="outside lower center", ncols=2)
    figure.suptitle(
        f"What does a defense protect, and what does it cost?\n{heading}\nMean over batches with 95 % intervals. A "
        "marker on its bar leaks nothing; the attacker does not know the defense.",
        fontsize=9,
    )
    return figure
