"""A report as a table on the terminal, and all reports as rows of a CSV file."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradinv.metrics.comparison.compare import Comparison
from gradinv.metrics.comparison.findings import Report
from gradinv.metrics.comparison.verdict import amount, counted, refusal, verdict
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.records.files import write_text
from gradinv.metrics.records.reading import mean
from gradinv.metrics.records.samples import Sample
from gradinv.metrics.records.settings import granted, title, varying

LEGEND = (
    "Means over the common batches, of the images that both have. better by: the paired difference with its 95 % "
    "interval; below 0 is worse. won: share of the batches, a draw is half.\n"
    "p: paired test, adjusted over the metrics (Holm). optimality: area under an attack's recovery curve / that of "
    "the per-image best of all attacks compared here; it changes with them."
)
_HEADINGS = ("metric", "n", "attack", "baseline", "better by", "won", "p", "optimality")
_NARROW_HEADINGS = ("metric", "n", "better by", "won", "p")
_NARROW = 100  # columns of a terminal that is too small for all headings


def print_reports(reports: Sequence[Report], console: Console) -> None:
    """Print each report's setting, costs, table and verdict."""
    also = varying([report.meeting.setting for report in reports])
    for report in reports:
        setting = report.meeting.setting
        seeds = ", ".join(map(str, report.meeting.pairs))
        console.print(f"\n[bold]{escape(title(setting, also))} · victim seed {seeds}[/bold]", soft_wrap=True)
        console.print(f"[dim]{escape(granted(setting))}[/dim]", soft_wrap=True)
        console.print(f"{escape(_common(report))}", soft_wrap=True)
        for word, key, side in _sides(report):
            console.print(f"  {word} {escape(key)}: {escape(_costs(side))}", soft_wrap=True)
        if report.comparisons:
            console.print(_table(report, _NARROW_HEADINGS if console.width < _NARROW else _HEADINGS))
        if report.not_measured:
            console.print(f"[dim]not measured on both sides: {', '.join(report.not_measured)}[/dim]", soft_wrap=True)
        console.print(f"[bold]{escape(verdict(report))}[/bold]", soft_wrap=True)
    console.print(f"\n[dim]{LEGEND}[/dim]")


def _common(report: Report) -> str:
    return f"{counted(report.n_batches, 'common batch')}, {counted(report.n_images, 'common image')}"


def _sides(report: Report) -> tuple[tuple[str, str, list[Sample]], ...]:
    return (("attack", report.attack, report.meeting.ours), ("baseline", report.against, report.meeting.theirs))


def _costs(side: Sequence[Sample]) -> str:
    """What one side spent for a batch, and where its values come from."""
    evaluations, seconds = _spent(side)
    parts = ["evaluations not known" if evaluations is None else f"{evaluations:,.0f} evaluations"]
    parts += ["seconds not known" if seconds is None else f"{seconds:,.{0 if seconds >= 10 else 2}f} s a batch"]
    return ", ".join(parts) + f" ({', '.join(dict.fromkeys(sample.source for sample in side))})"


def _spent(side: Iterable[Sample]) -> tuple[float | None, float | None]:
    found = list(side)
    evaluations = [sample.evaluations for sample in found if sample.evaluations is not None]
    seconds = [sample.seconds for sample in found if sample.seconds is not None]
    return mean(evaluations), mean(seconds)


def _table(report: Report, headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "metric" else "right", no_wrap=True)
    for one in report.comparisons:
        cells = dict(zip(_HEADINGS, _cells(one, report.optimality.get(one.metric)), strict=True))
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _cells(one: Comparison, optimality: tuple[float, float] | None) -> tuple[str, ...]:
    facts = facts_of(one.metric)
    name = one.metric if facts is None else facts.title
    digits = 1 if facts is not None and facts.unit == "dB" else 3
    return (
        name,
        str(one.n),
        f"{one.ours:.{digits}f}",
        f"{one.theirs:.{digits}f}",
        amount(one.metric, one.gain, one.low, one.high),
        f"{100 * one.won:.0f} %",
        "" if math.isnan(one.adjusted) else f"{one.adjusted:.2g}",
        "" if optimality is None else " / ".join(f"{value:.2f}" for value in optimality),
    )


def comparison_rows(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """One row per setting, baseline and metric; raw numbers, positive `gain` is better; empty is not known."""
    rows = []
    for report in reports:
        head = {
            "attack": report.attack,
            "against": report.against,
            **report.meeting.setting,
            "victim_seeds": " ".join(map(str, report.meeting.pairs)),
        }
        costs = {}
        for word, _, side in _sides(report):
            costs[f"{word}_evaluations"], costs[f"{word}_seconds"] = _spent(side)
        said = {"verdict": verdict(report)}
        rows += [head | _numbers(one, report) | costs | said for one in report.comparisons]
    return [{name: _shown(value) for name, value in row.items()} for row in rows]


def _numbers(one: Comparison, report: Report) -> dict[str, Any]:
    ours, theirs = report.optimality.get(one.metric, (None, None))
    return {
        "metric": one.metric,
        "n_batches": one.n,
        "n_images": one.images,
        "attack_mean": one.ours,
        "baseline_mean": one.theirs,
        "gain": one.gain,
        "gain_low": one.low,
        "gain_high": one.high,
        "won": one.won,
        "p": one.p,
        "p_adjusted": one.adjusted,
        "outcome": "no verdict" if refusal(report) else one.outcome,
        "attack_optimality": ours,
        "baseline_optimality": theirs,
    }


def _shown(value: Any) -> Any:
    """As the leaderboard writes it: nothing for what is not known, lower-case words for true and false."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def write_comparison(reports: Sequence[Report], path: Path) -> None:
    """Write `comparison_rows` as a CSV file, whole or not at all."""
    rows = comparison_rows(reports)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["attack", "against"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
