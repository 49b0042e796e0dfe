"""The lines of a board that is typeset: each row with its cell, its trials, and where it is proven to be the best."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradinv.metrics.boards.leaderboard import leaderboard
from gradinv.metrics.comparison.compare import Comparison, adjusted, compare
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.records.reading import trials_by_cell
from gradinv.metrics.records.record import Cell, Record
from gradinv.metrics.records.samples import Sample, samples_of
from gradinv.metrics.records.settings import by_setting

BEST = (
    "Bold: better than every other scored attack of its setting by the paired comparison (at least 8 common batches, "
    "the whole 95 % interval above 0, p at most 0.05 after Holm's correction over all pairs and metrics of the "
    "setting)."
)
VERDICTS = {"true": "yes", "false": "no"}
"""`works` of a row in words; anything else is no verdict."""


@dataclass(frozen=True)
class Line:
    """One row of the board; `best_on` holds the metrics on which it beats every other attack of its setting."""

    cell: Cell
    row: Mapping[str, Any]
    trials: Sequence[Record]
    best_on: frozenset[str]

    @property
    def is_scored(self) -> bool:
        """Whether the row has values."""
        return bool(self.row["n_batches"])

    @property
    def works(self) -> str:
        """`yes`, `no`, or empty where nothing can be said: for controls, without controls, below 2 batches."""
        return VERDICTS.get(self.row["works"], "")

    @property
    def reason(self) -> str:
        """The states and reasons of the trials that are not simply done, each once."""
        said = [f"{trial.state}: {trial.reason or 'no reason recorded'}" for trial in self.trials if _is_odd(trial)]
        return "; ".join(dict.fromkeys(said))

    def number(self, column: str) -> float:
        """The number in a column of the board; NaN where it is empty."""
        value = self.row[column]
        return math.nan if pd.isna(value) else float(value)

    def interval(self, name: str) -> tuple[float, float, float]:
        """Mean and bounds of a metric, or of `psnr_gain`; NaN for what was not measured."""
        mean, low, high = (self.number(f"{name}_{part}") for part in ("mean", "low", "high"))
        return mean, low, high


def _is_odd(trial: Record) -> bool:
    return trial.state not in ("done", "diverged")


def lines_by_setting(records: Sequence[Record]) -> list[tuple[dict[str, Any], list[Line]]]:
    """Every setting with its lines: each attack, beneath it its own controls, last the controls of every attack.

    Settings and attacks stand in the order of the suites, whatever the order of the records.
    """
    cells = trials_by_cell(records)
    rows = [{str(name): value for name, value in row.items()} for row in leaderboard(records).to_dict("records")]
    best = winners(records)
    lines = {
        cell: Line(cell, row, trials, best.get(cell, frozenset()))
        for (cell, trials), row in zip(cells.items(), rows, strict=True)
    }
    return [(setting, [lines[cell] for cell in _ordered(group)]) for setting, group in by_setting(cells)]


def _ordered(cells: Sequence[Cell]) -> list[Cell]:
    attacks = [cell for cell in cells if not cell.is_control]
    keys = [attack.key for attack in attacks]
    own = {key: [cell for cell in cells if cell.is_control and cell.preset == key] for key in keys}
    shared = [cell for cell in cells if cell.is_control and cell.preset not in keys]
    followed = [cell for attack in attacks for cell in (attack, *own[attack.key])]
    return list(dict.fromkeys([*followed, *shared]))


def winners(records: Iterable[Record]) -> dict[Cell, frozenset[str]]:
    """Attack -> the metrics on which it is better than every other scored attack of its setting.

    Better is the outcome of the paired comparison, its p-values adjusted by Holm's rule over all pairs and metrics of a
    setting. An attack without a rival is best of nothing.
    """
    found = list(records)
    samples = dict(zip(trials_by_cell(found), samples_of(found, "records"), strict=True))
    attacks = {cell: one for cell, one in samples.items() if not cell.is_control and one.values}
    return {
        cell: frozenset(metrics) for _, group in by_setting(attacks) for cell, metrics in _best(group, attacks).items()
    }


def _best(group: Sequence[Cell], samples: Mapping[Cell, Sample]) -> dict[Cell, list[str]]:
    """The winners of one setting: each pair is tested once, and the loser's outcome is the winner's turned round."""
    pairs = [(own, other) for index, own in enumerate(group) for other in group[index + 1 :]]
    tested = [
        (own, other, one) for own, other in pairs for one in _compared(samples[own].values, samples[other].values)
    ]
    outcomes = adjusted([one for _, _, one in tested])
    beaten: dict[tuple[Cell, str], int] = {}
    for (own, other, _), one in zip(tested, outcomes, strict=True):
        winner = {"better": own, "worse": other}.get(one.outcome)
        if winner is not None:
            beaten[winner, one.metric] = beaten.get((winner, one.metric), 0) + 1
    return {cell: [m for m in _metrics(group, samples) if beaten.get((cell, m)) == len(group) - 1] for cell in group}


def _compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Comparison]:
    found = []
    for metric in ours:
        facts = facts_of(metric)
        if metric in theirs and facts is not None:
            found.append(compare([ours[metric]], [theirs[metric]], metric=metric, facts=facts))
    return [one for one in found if one is not None]


def _metrics(group: Iterable[Cell], samples: Mapping[Cell, Sample]) -> list[str]:
    return sorted({metric for cell in group for metric in samples[cell].values})


def metrics_measured(lines: Iterable[Line]) -> list[str]:
    """The metrics that any of the lines has a value of, those of every board first, those of plug-ins last."""
    found = list(lines)
    names = [name.removesuffix("_low") for line in found[:1] for name in line.row if name.endswith("_low")]
    return [
        name for name in names if name != "psnr_gain" and any(not math.isnan(line.interval(name)[0]) for line in found)
    ]


def digits(metric: str) -> int:
    """Decimals of a typeset value: one for dB, else three."""
    facts = facts_of(metric.removesuffix("_gain"))
    return 1 if facts is not None and facts.unit == "dB" else 3


def fixed(value: float, decimals: int) -> str:
    """The value with that many decimals, never -0.0; empty for NaN.

    >>> fixed(-0.04, 1), fixed(14.26, 1), fixed(math.nan, 1)
    ('0.0', '14.3', '')
    """
    return "" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"
