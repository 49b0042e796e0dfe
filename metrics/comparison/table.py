"""Findings as tables on the terminal, and all of them as rows of a CSV file."""

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
from gradinv.metrics.comparison.findings import Findings
from gradinv.metrics.comparison.verdict import refusal, verdict_line
from gradinv.metrics.plain_text import no_formula
from gradinv.metrics.records import Sample, granted, mean, title, varying, write_text
from gradinv.metrics.typesetting import amount, counted, digits_of, fixed, percent, title_of

LEGEND = (
    "Means over the common batches, of the images that both have. better by: the paired difference with its 95 % "
    "interval; below 0 is worse. won: share of the batches, a draw is half.\n"
    "p: paired test, adjusted over the metrics (Holm). optimality: area under an attack's recovery curve / that of "
    "the per-image best of all attacks compared here; it changes with them."
)
SIDES = ("attack", "baseline")
_HEADINGS = ("metric", "n", *SIDES, "better by", "won", "p", "optimality")
# What decides: the difference and its test.
_NARROW_HEADINGS = ("metric", "n", "better by", "won", "p")
_NARROW = 100  # columns of a terminal that is too small for all headings


def print_findings(all_findings: Sequence[Findings], console: Console) -> None:
    """Print each meeting's setting, costs, table and verdict."""
    distinguishing = varying([findings.meeting.setting for findings in all_findings])
    for findings in all_findings:
        _print_meeting(findings, distinguishing, console)
    console.print(f"\n[dim]{LEGEND}[/dim]")


def _print_meeting(findings: Findings, distinguishing: Sequence[str], console: Console) -> None:
    # soft_wrap: lines that are copied from a terminal must not be broken where it happened to end.
    setting = findings.meeting.setting
    seeds = ", ".join(map(str, findings.meeting.pairs))
    console.print(f"\n[bold]{escape(title(setting, distinguishing))} · victim seed {seeds}[/bold]", soft_wrap=True)
    console.print(f"[dim]{escape(granted(setting))}[/dim]", soft_wrap=True)
    common = f"{counted(findings.n_batches, 'common batch')}, {counted(findings.n_images, 'common image')}"
    console.print(common, soft_wrap=True)
    for side, (key, samples) in zip(SIDES, findings.sides, strict=True):
        console.print(f"  {side} {escape(key)}: {escape(_costs(samples))}", soft_wrap=True)
    if findings.comparisons:
        console.print(_table(findings, _NARROW_HEADINGS if console.width < _NARROW else _HEADINGS))
    if findings.not_measured:
        console.print(f"[dim]not measured on both sides: {', '.join(findings.not_measured)}[/dim]", soft_wrap=True)
    console.print(f"[bold]{escape(verdict_line(findings))}[/bold]", soft_wrap=True)


def _costs(samples: Sequence[Sample]) -> str:
    """What one side spent for a batch, and where its values come from."""
    evaluations, seconds = _spent(samples)
    parts = ["evaluations not known" if evaluations is None else f"{evaluations:,.0f} evaluations"]
    # Below ten seconds hundredths tell attacks apart; above, they are noise of the machine.
    parts += ["seconds not known" if seconds is None else f"{seconds:,.{0 if seconds >= 10 else 2}f} s a batch"]
    return ", ".join(parts) + f" ({', '.join(dict.fromkeys(sample.source for sample in samples))})"


def _spent(samples: Sequence[Sample]) -> tuple[float | None, float | None]:
    evaluations = [sample.evaluations for sample in samples if sample.evaluations is not None]
    seconds = [sample.seconds for sample in samples if sample.seconds is not None]
    return mean(evaluations), mean(seconds)


def _table(findings: Findings, headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "metric" else "right", no_wrap=True)
    for comparison in findings.comparisons:
        texts = _texts(comparison, findings.optimality.get(comparison.metric))
        table.add_row(*(texts[heading] for heading in headings))
    return table


def _texts(comparison: Comparison, optimality: tuple[float, float] | None) -> dict[str, str]:
    """Heading -> what stands beneath it."""
    digits = digits_of(comparison.metric)
    return {
        "metric": title_of(comparison.metric),
        "n": str(comparison.n),
        "attack": fixed(comparison.attack_mean, digits),
        "baseline": fixed(comparison.baseline_mean, digits),
        "better by": amount(comparison.metric, comparison.gain, comparison.low, comparison.high),
        "won": percent(comparison.won),
        "p": "" if math.isnan(comparison.adjusted) else f"{comparison.adjusted:.2g}",
        "optimality": "" if optimality is None else " / ".join(f"{value:.2f}" for value in optimality),
    }


def comparison_rows(all_findings: Iterable[Findings]) -> list[dict[str, Any]]:
    """One row per setting, baseline and metric; raw numbers, positive `gain` is better; empty is not known."""
    rows = []
    for findings in all_findings:
        identity = {
            "attack": findings.attack,
            "against": findings.against,
            **findings.meeting.setting,
            "victim_seeds": " ".join(map(str, findings.meeting.pairs)),
        }
        costs = {}
        for side, (_, samples) in zip(SIDES, findings.sides, strict=True):
            costs[f"{side}_evaluations"], costs[f"{side}_seconds"] = _spent(samples)
        # Repeated in every row, so that a row can be quoted alone.
        conclusion = costs | {"verdict": verdict_line(findings)}
        rows += [identity | _numbers(comparison, findings) | conclusion for comparison in findings.comparisons]
    return [{name: _stored(value) for name, value in row.items()} for row in rows]


def _numbers(comparison: Comparison, findings: Findings) -> dict[str, Any]:
    attack_optimality, baseline_optimality = findings.optimality.get(comparison.metric, (None, None))
    return {
        "metric": comparison.metric,
        "n_batches": comparison.n,
        "n_images": comparison.images,
        "attack_mean": comparison.attack_mean,
        "baseline_mean": comparison.baseline_mean,
        "gain": comparison.gain,
        "gain_low": comparison.low,
        "gain_high": comparison.high,
        "won": comparison.won,
        "p": comparison.p,
        "p_adjusted": comparison.adjusted,
        "outcome": "no verdict" if refusal(findings) else comparison.outcome,
        "attack_optimality": attack_optimality,
        "baseline_optimality": baseline_optimality,
    }


def _stored(value: Any) -> Any:
    """As the leaderboard writes it: nothing for what is not known, lower-case words for true and false."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def write_comparison(all_findings: Sequence[Findings], path: Path) -> None:
    """Write `comparison_rows` as a CSV file, whole or not at all."""
    rows = comparison_rows(all_findings)
    text = io.StringIO()
    # Without rows the header still says what the file is.
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["attack", "against"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({n: no_formula(v) if isinstance(v, str) else v for n, v in row.items()} for row in rows)
    write_text(path, text.getvalue())
