"""What the pages of a report say, as plain values for the templates: numbers, verdicts, neighbours, facts."""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gradinv.metrics.boards.columns import SETTING, leaderboard_columns
from gradinv.metrics.boards.lines import Line, digits, fixed
from gradinv.metrics.comparison.verdict import amount
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.records.reading import batch_mean
from gradinv.metrics.records.record import Cell, Record
from gradinv.metrics.report.charts import Axis, Span, axis_of

_WORDS = {"higher": "higher is better", "lower": "lower is better"}
_ARROWS = {"higher": "↑", "lower": "↓"}


class Recipe(NamedTuple):
    """How a row is run again: a suite file, and what `gradinv run` must be told beside it."""

    suite: str
    options: tuple[str, ...]


RecipeOf = Callable[[str, Sequence[Record], Sequence[str]], Recipe | None]
"""(name, trials of an attack, names of its controls) -> recipe; None where the records do not say enough."""


@dataclass(frozen=True)
class Heading:
    """A column of numbers: `direction` is `higher`, `lower` or empty."""

    name: str
    title: str
    unit: str = ""
    direction: str = ""
    meaning: str = ""

    @property
    def arrow(self) -> str:
        """↑ or ↓: where better values lie."""
        return _ARROWS.get(self.direction, "")

    @property
    def words(self) -> str:
        """`higher is better` or `lower is better`; empty where neither is."""
        return _WORDS.get(self.direction, "")


class Value(NamedTuple):
    """A number as the page shows it; `sort` is the board's own, in full precision, empty where there is none."""

    text: str
    sort: str = ""
    interval: str = ""
    is_best: bool = False


def heading(metric: str) -> Heading:
    """The column of a metric; of a plug-in that is not loaded only the name is known."""
    facts, meaning = facts_of(metric), leaderboard_columns([metric])[f"{metric}_mean"].meaning
    if facts is None:
        return Heading(metric, metric, meaning=meaning)
    return Heading(metric, facts.title, facts.unit, facts.direction, meaning)


def page_name(cell: Cell) -> str:
    """The name of a row's page: safe in every file system and every address, and its own for every cell."""
    digest = hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:10]
    plain = re.sub(r"[^A-Za-z0-9]+", "-", cell.key).strip("-")[:60]
    return f"{plain}-{digest}"


def value(line: Line, name: str) -> Value:
    """A metric of a row with its interval."""
    mean, low, high = line.interval(name)
    if math.isnan(mean):
        return Value("")
    bounds = [signed(fixed(bound, digits(name))) for bound in (low, high)]
    between = f"[{bounds[0]}, {bounds[1]}]" if bounds[0] else ""
    return Value(signed(fixed(mean, digits(name))), repr(mean), between, name in line.best_on)


def plain(line: Line, column: str, decimals: int) -> Value:
    """A number of a row that has no interval."""
    number = line.number(column)
    return Value("" if math.isnan(number) else f"{number:,.{decimals}f}", "" if math.isnan(number) else repr(number))


def signed(text: str) -> str:
    """The number with a true minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")


def verdict(line: Line) -> str:
    """Whether an attack works in its setting, in a sentence."""
    if not line.row["best_control"]:
        return "There is no control to compare with, so nothing can be said of what the gradient gave away."
    gain = signed(amount("psnr", *line.interval("psnr_gain")))
    best = f"the best control here, {line.row['best_control']}"
    if line.works == "yes":
        return f"Works here: its PSNR exceeds that of {best}, by {gain}; the whole 95 % interval lies above 0."
    if line.works == "no":
        return f"No better than controls here: the gain over {best}, is {gain}, so it can be 0 or less."
    return f"Too few batches for a verdict; the gain over {best}, is {gain}."


def controls_beside(line: Line, lines: Iterable[Line]) -> list[Line]:
    """The controls that a row of the same setting is compared with; none for a control."""
    if line.cell.is_control:
        return []
    return [other for other in lines if other.cell.is_control and other.cell.preset in ("", line.cell.key)]


def attacks_beside(line: Line, lines: Iterable[Line]) -> list[Line]:
    """The attacks of the setting that a control is compared with; none for an attack."""
    if not line.cell.is_control:
        return []
    return [other for other in lines if not other.cell.is_control and line.cell.preset in ("", other.cell.key)]


def spans(lines: Sequence[Line]) -> tuple[Axis | None, dict[Cell, Span]]:
    """The PSNR of the lines on one scale."""
    found = {line.cell: line.interval("psnr") for line in lines if not math.isnan(line.interval("psnr")[0])}
    axis = axis_of(number for interval in found.values() for number in interval)
    return axis, {} if axis is None else {cell: axis.span(*interval) for cell, interval in found.items()}


def trial_rows(line: Line, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The trials of a row, one each: batch, state, reason, values."""
    rows = []
    for trial in line.trials:
        means = [batch_mean(trial, metric) for metric in metrics]
        rows.append({
            "batch": trial.repetition,
            "state": trial.state,
            "reason": trial.reason,
            "values": ["" if m is None else signed(fixed(m, digits(n))) for m, n in zip(means, metrics, strict=True)],
            "evaluations": f"{trial.evaluations:,}",
            "objective": [_short(x) for x in (trial.objective_start, trial.objective_end)],
            "seconds": f"{trial.seconds:.1f}",
            "id": trial.id,
        })  # fmt: skip
    return rows


def _short(number: float | None) -> str:
    return "" if number is None else signed(f"{number:.3g}")


def threat_model(line: Line) -> list[tuple[str, str, str]]:
    """Every setting column of a row: name in words, value, meaning."""
    return [(name.replace("_", " "), str(line.row[name]), column.meaning) for name, column in SETTING.items()]


def environment(line: Line) -> list[tuple[str, str]]:
    """Where and with what a row was run."""
    found: Mapping[str, str] = {
        "suite": _agreed(trial.suite for trial in line.trials),
        "hyperparameters": _agreed(_hyperparameters(trial) for trial in line.trials),
        "suite hash": line.row["suite_hash"],
        "device": line.row["device"],
        "CPU threads of a trial": line.row["threads"],
        "engine": line.row["engine"],
        "versions": line.row["versions"],
        "date": line.row["date"],
        "data hash": _agreed(trial.spec.get("data_hash", "") for trial in line.trials),
        "weights hash": _agreed(trial.spec.get("weights_hash", "") for trial in line.trials),
    }
    return [(name, words) for name, words in found.items() if words]


def _hyperparameters(trial: Record) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(trial.spec.get("hyperparameters", {}).items()))


def _agreed(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(word for word in words if word))
