"""Compare one attack with others, as `gradinv compare` does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

import pandas as pd

from gradinv.benchmark.api.results import Run
from gradinv.metrics.boards import read_board
from gradinv.metrics.comparison import Findings, comparison_rows, find_key, findings_of, verdict_line
from gradinv.metrics.records import Sample, pooled, read_records, samples_of

_SHOWN = [
    "against",
    "metric",
    "n_batches",
    "attack_mean",
    "baseline_mean",
    "gain",
    "gain_low",
    "gain_high",
    "p_adjusted",
]


@dataclass(frozen=True)
class Compared:
    """What was found, by setting and baseline; `notes` name what was not compared, and why."""

    findings: Sequence[Findings] = field(repr=False)
    notes: Sequence[str] = field(repr=False)

    @cached_property
    def verdicts(self) -> list[str]:
        """One sentence for each setting and baseline."""
        return [verdict_line(findings) for findings in self.findings]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a setting, baseline and metric; positive `gain` is better, empty is not known."""
        return pd.DataFrame(comparison_rows(self.findings))

    def __str__(self) -> str:
        return "\n".join(self.verdicts)

    def _repr_html_(self) -> str:
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdicts)
        return sentences + self.table[_SHOWN].to_html(index=False, border=0)


def compare(
    *sources: Run | str | Path, attack: str, against: str | Sequence[str] = "gradinversion", any_budget: bool = False
) -> Compared:
    """Compare an attack with one or more baselines, paired by image, in every setting that both have.

    `sources` are runs, run directories, or image tables of boards (`NAME.images.csv`); of what several have the first
    counts. Raises NotComparableError, with the reason, where nothing can be compared.
    """
    samples, notes = _samples(sources)
    baselines = [against] if isinstance(against, str) else list(against)
    keys = [find_key(name, samples) for name in (attack, *baselines)]
    findings, left_out = findings_of(samples, keys[0], keys[1:], any_budget=any_budget)
    return Compared(findings, [*notes, *left_out])


def _samples(sources: Sequence[Run | str | Path]) -> tuple[list[Sample], list[str]]:
    samples: list[list[Sample]] = []
    notes: list[str] = []
    for source in sources:
        if isinstance(source, Run):
            samples.append(samples_of(source.records, ", ".join(map(str, source.paths))))
            continue
        if str(source).endswith(".csv"):
            published, faults = read_board(Path(source))
        else:
            records, faults = read_records([Path(source)])
            published = samples_of(records, str(source))
        samples.append(published)
        notes += faults
    return pooled(samples), notes
