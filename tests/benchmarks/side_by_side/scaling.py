"""What an iteration costs as the batch, the number of agents or the images grow: table and figure."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from gradinv.metrics.figures.presentation import Presentation, look, styled
from gradinv.metrics.figures.style import DARK_GREY, save, write_table
from tests.benchmarks.side_by_side.problems import Case
from tests.benchmarks.side_by_side.rounds import Measurement, measure

GRID = {"batch": (1, 2, 4, 8, 16, 32, 48), "agents": (1, 2, 4, 8, 16), "size": (32, 64, 96, 128)}
AXES = {"batch": "batch size (images)", "agents": "agents", "size": "pixels of an image (side, px)"}
# One registration in the whole reconstruction, so that what is timed is the steps: see tests/benchmarks.
STEPS_ONLY = {"group_every": 1.0}


def scaling_cases(base: Case) -> Iterator[tuple[str, int, Case]]:
    """What grows, how far, and the case: GradInversion, with all else as in `base`."""
    for value in GRID["batch"]:
        yield "batch", value, replace(base, batch=value)
    for value in GRID["agents"]:
        yield "agents", value, replace(base, parameters={"agents": value} | STEPS_ONLY)
    for value in GRID["size"]:
        yield "size", value, replace(base, size=value)


def measure_scaling(base: Case, rounds: int, span: int | None) -> tuple[pd.DataFrame, list[Measurement]]:
    """One row a case: the median of the seconds per iteration, and what it would be if it grew with the work."""
    rows, found = [], []
    for varied, value, case in scaling_cases(base):
        m = measure(case, ["ours"], rounds, span)
        found.append(m)
        seconds = statistics.median(m.seconds["ours"]) if m.seconds.get("ours") else float("nan")
        about = {"model": case.model, "attack": case.attack, "engine": case.engine, "device": case.device}
        rows.append({"varied": varied, "value": value, "seconds": seconds, **about})
    return _with_linear(pd.DataFrame(rows)), found


def _with_linear(table: pd.DataFrame) -> pd.DataFrame:
    """Adds `linear`, the first point times the growth of the work: with the square of the side for the size."""
    groups = []
    for varied, rows in table.groupby("varied", sort=False):
        growth = (rows["value"] / rows["value"].iloc[0]) ** (2 if varied == "size" else 1)
        groups.append(rows.assign(linear=rows["seconds"].iloc[0] * growth))
    return pd.concat(groups)[["varied", "value", "seconds", "linear", "model", "attack", "engine", "device"]]


def draw_scaling(table: pd.DataFrame, machine: str, stem: Path) -> list[Path]:
    """Three panels with logarithmic axes to `stem.png`, and their numbers to `stem.csv`; returns the files."""
    first = table.iloc[0]
    with styled(Presentation()):
        figure = Figure(figsize=(10.5, 3.9), layout="constrained")
        panels = zip(figure.subplots(1, len(GRID), sharey=True), GRID, strict=True)
        for axis, varied in panels:
            _panel(axis, varied, table[table["varied"] == varied])
        figure.axes[0].set_ylabel("seconds per iteration")
        what = f"{first['attack']} on {first['model']}, {first['engine']} engine"
        figure.suptitle(f"What does an iteration cost?\n{what}; {machine}", fontsize=9)
        return [*save(figure, stem, kinds=("png",)), write_table(table, stem)]


def _panel(axis: Axes, varied: str, rows: pd.DataFrame) -> None:
    color, marker = look(0)
    axis.loglog(rows["value"], rows["linear"], color=DARK_GREY, linestyle="--", linewidth=1)
    axis.loglog(rows["value"], rows["seconds"], color=color, marker=marker)
    linear = "linear in pixels" if varied == "size" else "linear"
    measured_above = rows["seconds"].iloc[-1] > rows["linear"].iloc[-1]
    _label(axis, rows, "seconds", "measured", color, above=measured_above)
    _label(axis, rows, "linear", linear, DARK_GREY, above=not measured_above)
    axis.set_xticks(list(rows["value"]), [str(value) for value in rows["value"]])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(AXES[varied])


def _label(axis: Axes, rows: pd.DataFrame, column: str, text: str, color: str, *, above: bool) -> None:
    """The line's name beside its middle point, on the side where the other line is not."""
    middle = len(rows) // 2
    point = (rows["value"].iloc[middle], rows[column].iloc[middle])
    offset, across, down = ((-6, 6), "right", "bottom") if above else ((6, -6), "left", "top")
    axis.annotate(text, point, offset, textcoords="offset points", ha=across, va=down, color=color, fontsize=8)


def scaling_table(table: pd.DataFrame) -> str:
    """The same numbers as markdown."""
    lines = ["| | | ms per iteration | linear would be |", "| --- | --- | --- | --- |"]
    cells: Sequence[tuple[str, int, float, float]] = list(
        table[["varied", "value", "seconds", "linear"]].itertuples(index=False, name=None)
    )
    lines += [f"| {a} | {v} | {1000 * s:.3g} | {1000 * linear:.3g} |" for a, v, s, linear in cells]
    return "\n".join(lines)
