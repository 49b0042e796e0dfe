"""The lines of a board that is typeset: each row with its cell, its trials, and where it is proven to be the best."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from gradinv.metrics.comparison import Comparison, adjusted, compare_samples
from gradinv.metrics.leakage import NONE
from gradinv.metrics.records import Cell, Record, Sample, Setting, by_setting, ordered, sample_of, trials_by_cell
from gradinv.metrics.typesetting import state_in_words

BEST = (
    "Bold: beats its controls, and is better than every other scored attack of its setting by the paired comparison "
    "(at least 8 common batches, the whole 95 % interval above 0, p at most 0.05 after Holm's correction over all "
    "pairs and metrics of the setting)."
)
_NOBODY: Mapping[Cell, frozenset[str]] = {}


@dataclass(frozen=True)
class BoardLine:
    """One row of the board; `best_on` holds the metrics on which it beats every other attack of its setting.

    A published board's rows have no trials.
    """

    cell: Cell
    row: Mapping[str, Any]
    trials: Sequence[Record]
    best_on: frozenset[str] = frozenset()

    @property
    def is_scored(self) -> bool:
        """Whether the row has values."""
        return bool(self.row["n_batches"])

    @property
    def works(self) -> str:
        """`yes` where something leaks, `no` where nothing does, empty where nothing can be said."""
        leaks = self.row["leaks"]
        return "" if not leaks else "no" if leaks == NONE else "yes"

    @property
    def reason(self) -> str:
        """The states and reasons of the trials without values, each once; of a published row its notes."""
        reasons = dict.fromkeys(state_in_words(trial) for trial in self.trials if not trial.is_scored)
        return "; ".join(reasons) if self.trials else str(self.row["notes"])

    def number(self, column: str) -> float:
        """The number in a column of the board; NaN where it is empty."""
        # Counts are of a type that has pandas' own NA, which is no float.
        value = self.row[column]
        return math.nan if pd.isna(value) else float(value)

    def interval(self, name: str) -> tuple[float, float, float]:
        """Mean and bounds of a metric, or of `psnr_gain`; NaN for what was not measured."""
        mean, low, high = (self.number(f"{name}_{part}") for part in ("mean", "low", "high"))
        return mean, low, high


def lines_by_setting(
    records: Sequence[Record], board: pd.DataFrame, best: Mapping[Cell, frozenset[str]] = _NOBODY
) -> list[tuple[Setting, list[BoardLine]]]:
    """Every setting with its lines: each attack, beneath it its own controls, last the controls of every attack.

    `board` is the leaderboard of the records, `best` their `winners`, where they are to be marked: nothing is that does
    not beat its controls. Settings and attacks stand in the order of the suites, whatever the order of the records.
    """
    cells = trials_by_cell(records)
    # The board has one row a cell, in the order of the cells.
    rows = ({str(name): value for name, value in row.items()} for row in board.to_dict("records"))
    lines = {
        # The best of what leaks nothing is the best of nothing.
        cell: BoardLine(cell, row, trials, best.get(cell, frozenset()) if row["works"] == "true" else frozenset())
        for (cell, trials), row in zip(cells.items(), rows, strict=True)
    }
    return [(setting, [lines[cell] for cell in ordered(group)]) for setting, group in by_setting(cells)]


def winners(records: Iterable[Record]) -> dict[Cell, frozenset[str]]:
    """Cell -> the metrics on which it is better than every other scored attack of its setting; nothing for a control.

    Better is the outcome of the paired comparison, its p-values adjusted by Holm's rule over all pairs and metrics of a
    setting. An attack without a rival is best of nothing.
    """
    samples = {cell: sample_of(trials, "records") for cell, trials in trials_by_cell(records).items()}
    best = dict.fromkeys(samples, frozenset[str]())
    for _, group in by_setting(cell for cell, sample in samples.items() if not cell.is_control and sample.values):
        best |= _best_of([samples[cell] for cell in group])
    return best


def _best_of(rivals: Sequence[Sample]) -> dict[Cell, frozenset[str]]:
    """The winners of one setting."""
    tested: list[tuple[Sample, Sample, Comparison]] = []
    for first, second in combinations(rivals, 2):
        tested += [(first, second, comparison) for comparison in _compared(first, second)]
    # Each pair is tested once: turned round, `worse` is the other attack's `better`.
    wins: Counter[tuple[Cell, str]] = Counter()
    for (first, second, _), comparison in zip(tested, adjusted([pair[2] for pair in tested]), strict=True):
        winner = {"better": first, "worse": second}.get(comparison.outcome)
        if winner is not None:
            wins[winner.cell, comparison.metric] += 1
    best = {cell_and_metric for cell_and_metric, count in wins.items() if count == len(rivals) - 1}
    return {rival.cell: frozenset(m for m in rival.values if (rival.cell, m) in best) for rival in rivals}


def _compared(first: Sample, second: Sample) -> list[Comparison]:
    comparisons = (compare_samples([first], [second], metric) for metric in first.values)
    return [comparison for comparison in comparisons if comparison is not None]


def metrics_measured(lines: Sequence[BoardLine]) -> list[str]:
    """The metrics that any of the lines has a value of, those of every board first, those of plug-ins last."""
    # What has a mean with an interval is a metric; the gain has one too, and is none.
    names = [name.removesuffix("_mean") for line in lines[:1] for name in line.row if name.endswith("_mean")]
    names = [name for name in names if f"{name}_low" in lines[0].row]
    measured = {name for name in names for line in lines if not math.isnan(line.number(f"{name}_mean"))}
    return [name for name in names if name in measured and not name.endswith("_gain")]
