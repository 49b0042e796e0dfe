"""What the pages of a report say, as plain values for the templates: numbers, verdicts, neighbours, facts."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gradinv.metrics.boards import BoardLine, leaderboard_columns
from gradinv.metrics.images import facts_of
from gradinv.metrics.leakage import FAMILY, badge
from gradinv.metrics.records import SETTING, Cell, Record, attacks_of, batch_mean, controls_of
from gradinv.metrics.report.charts import Axis, Span, axis_of
from gradinv.metrics.typesetting import amount, between, digits_of, fixed, percent, signed

_WORDS = {"higher": "higher is better", "lower": "lower is better"}
_ARROWS = {"higher": "↑", "lower": "↓"}


class Rerun(NamedTuple):
    """How a row is run again: a suite file, and what `gradinv run` must be told beside it."""

    suite: str
    options: tuple[str, ...]


RerunOf = Callable[[str, Sequence[Record], Sequence[str]], Rerun | None]
"""(name, trials of an attack, names of its controls) -> how to run it again; None where records do not say enough."""


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
    # Keys may differ in what no file name holds, or in capitals, which some file systems do not tell apart.
    digest = hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:10]
    plain = re.sub(r"[^A-Za-z0-9]+", "-", cell.key).strip("-")[:60]
    return f"{plain}-{digest}"


def value(line: BoardLine, name: str) -> Value:
    """A metric of a row with its interval."""
    mean, low, high = line.interval(name)
    if math.isnan(mean):
        return Value("")
    digits = digits_of(name)
    # What a column is sorted by is the board's own number, for two that are typeset alike may differ.
    return Value(signed(fixed(mean, digits)), repr(mean), signed(between(low, high, digits)), name in line.best_on)


def plain(line: BoardLine, column: str, decimals: int) -> Value:
    """A number of a row that has no interval."""
    number = line.number(column)
    return Value("") if math.isnan(number) else Value(f"{number:,.{decimals}f}", repr(number))


def verdict(line: BoardLine) -> str:
    """What leaks and from where, with the gain in each respect over the control that comes closest."""
    row = line.row
    words = row["verdict"] or badge(row)
    gains = [_gain(row, respect) for respect in FAMILY if row[_column(respect)]]
    return f"{words[:1].upper()}{words[1:]}." + f" Gains over the best control: {'; '.join(gains)}." * bool(gains)


def _column(respect: str) -> str:
    return "best_control" if respect == "pixels" else f"{respect}_control"


def _gain(row: Mapping[str, Any], respect: str) -> str:
    metric = {"pixels": "psnr", "identity": "identity_lowpass"}.get(respect, respect)
    prefix = "psnr" if respect == "pixels" else respect
    size = signed(amount(metric, *(float(row[f"{prefix}_gain_{part}"]) for part in ("mean", "low", "high"))))
    return f"{respect} {size} over {row[_column(respect)]}"


def controls_beside(line: BoardLine, lines: Iterable[BoardLine]) -> list[BoardLine]:
    """The controls that a row is compared with; none for a control."""
    by_cell = {line.cell: line for line in lines}
    return [by_cell[cell] for cell in controls_of(line.cell, by_cell)]


def attacks_beside(line: BoardLine, lines: Iterable[BoardLine]) -> list[BoardLine]:
    """The attacks that a control is compared with; none for an attack."""
    by_cell = {line.cell: line for line in lines}
    return [by_cell[cell] for cell in attacks_of(line.cell, by_cell)]


def spans(lines: Sequence[BoardLine]) -> tuple[Axis | None, dict[Cell, Span]]:
    """The PSNR of the lines on one scale."""
    # One scale for the attack and all its controls: the bars are there to be compared.
    intervals = {line.cell: line.interval("psnr") for line in lines}
    measured = {cell: interval for cell, interval in intervals.items() if not math.isnan(interval[0])}
    axis = axis_of(number for interval in measured.values() for number in interval)
    return axis, {} if axis is None else {cell: axis.span(*interval) for cell, interval in measured.items()}


def trial_rows(line: BoardLine, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The trials of a row, one each: batch, state, reason, values."""
    return [
        {
            "batch": trial.repetition,
            "state": trial.state,
            "reason": trial.reason,
            "values": [_mean_of(trial, metric) for metric in metrics],
            "evaluations": f"{trial.evaluations:,}",
            "objective": [_short(objective) for objective in (trial.objective_start, trial.objective_end)],
            "seconds": f"{trial.seconds:.1f}",
            "id": trial.id,
        }
        for trial in line.trials
    ]


def _mean_of(trial: Record, metric: str) -> str:
    mean = batch_mean(trial, metric)
    return "" if mean is None else signed(fixed(mean, digits_of(metric)))


def _short(number: float | None) -> str:
    return "" if number is None else signed(f"{number:.3g}")


def threat_model(line: BoardLine) -> list[tuple[str, str, str]]:
    """Every setting column of a row: name in words, value, meaning."""
    # All of them, also those that titles leave out: it must be seen what was granted.
    return [(name.replace("_", " "), str(line.row[name]), column.meaning) for name, column in SETTING.items()]


def environment(line: BoardLine) -> list[tuple[str, str]]:
    """Where and with what a row was run."""
    facts: Mapping[str, str] = {
        "suite": _agreed(trial.suite for trial in line.trials),
        "hyperparameters": _agreed(_hyperparameters(trial) for trial in line.trials),
        "suite hash": line.row["suite_hash"],
        "device": line.row["device"],
        "source of the weights": _agreed(trial.weights_source for trial in line.trials),
        "judges of identity": _agreed(
            f"{name}: {words}" for trial in line.trials for name, words in trial.judges.items()
        ),
        "pool": _agreed(trial.pool for trial in line.trials),
        "CPU threads of a trial": line.row["threads"],
        "engine": line.row["engine"],
        "versions": line.row["versions"],
        "date": line.row["date"],
        "data hash": _agreed(trial.spec.get("data_hash", "") for trial in line.trials),
        "weights hash": _agreed(trial.spec.get("weights_hash", "") for trial in line.trials),
        "parameters whose gradient is zero": _largest_share(trial.zero_gradient_share for trial in line.trials),
        "alignments of the agents' images": _alignments(line.trials),
    }
    return [(name, words) for name, words in facts.items() if words]


def _largest_share(shares: Iterable[float | None]) -> str:
    measured = [share for share in shares if share is not None]
    return f"at most {percent(max(measured), 1)}" if measured else ""


def _alignments(trials: Iterable[Record]) -> str:
    """How many were accepted, and rejected for which reason, in all trials together."""
    # Of all trials together: what is rejected now and then is seen only in the sum.
    counts: Counter[str] = Counter()
    for trial in trials:
        counts.update(trial.alignments)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def _hyperparameters(trial: Record) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(trial.spec.get("hyperparameters", {}).items()))


def _agreed(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(word for word in words if word))
