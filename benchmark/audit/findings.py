"""What an audit came to: for no defense and for each, what leaks, shown by which attack, and what the defense costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.audit.design import AuditRequest, Design
from gradinv.benchmark.datasets import Dataset
from gradinv.benchmark.victims import LoadedVictim
from gradinv.metrics.boards import BoardLine, leaderboard, lines_by_setting
from gradinv.metrics.leakage import FAMILY, parted
from gradinv.metrics.records import Record

NONE = "none"


@dataclass(frozen=True)
class DefenseFinding:
    """What leaks with one defense: `lines` are its scored attacks; `price` what a training with it comes to."""

    defense: str
    lines: tuple[BoardLine, ...]
    price: Mapping[str, Any] | None = None

    @property
    def is_tested(self) -> bool:
        """Whether any attack has a verdict."""
        return any(line.row["leaks"] for line in self.lines)

    def shown_by(self, column: str) -> dict[str, BoardLine]:
        """Respect -> the attack that shows it in a column, `leaks` or `from_...`; of several the best in PSNR."""
        shown: dict[str, BoardLine] = {}
        for line in sorted(self.lines, key=lambda line: -_psnr(line)):
            for respect in parted(str(line.row[column] or "")):
                shown.setdefault(respect, line)
        return {respect: shown[respect] for respect in FAMILY if respect in shown}

    @property
    def leaks(self) -> tuple[str, ...]:
        """The respects that leak, by any attack, from wherever."""
        return tuple(self.shown_by("leaks"))

    @property
    def unattributed(self) -> dict[str, BoardLine]:
        """Respect -> the attack that shows it, of those that leak and no attack shows from where."""
        told = {*self.shown_by("from_gradient"), *self.shown_by("from_statistics")}
        return {respect: line for respect, line in self.shown_by("leaks").items() if respect not in told}

    @property
    def n_batches(self) -> int:
        """Of the attack that has the fewest."""
        return min((int(line.row["n_batches"]) for line in self.lines), default=0)


def _psnr(line: BoardLine) -> float:
    mean = line.number("psnr_mean")
    # Last of all: compared with NaN, an order would be that of chance.
    return -math.inf if math.isnan(mean) else mean


@dataclass(frozen=True)
class AuditFindings:
    """All that an audit's report is made of; the first of `defenses` is none. Trials of the plan may have no record.

    `labels` is the board of label inference, with a column for the defense.
    """

    request: AuditRequest
    design: Design
    victim: LoadedVictim
    dataset: Dataset
    records: Sequence[Record]
    defenses: tuple[DefenseFinding, ...]
    labels: pd.DataFrame

    @property
    def undefended(self) -> DefenseFinding:
        """What leaks without a defense."""
        return self.defenses[0]

    @property
    def threat_model(self) -> ThreatModel:
        """What was sent and granted."""
        return self.design.plan.suite.blocks[0].threat_model


def finding_of_each_defense(
    records: Sequence[Record], prices: Mapping[str, Mapping[str, Any]]
) -> tuple[DefenseFinding, ...]:
    """What leaks without a defense and with each."""
    settings = lines_by_setting(records, leaderboard(records)) if records else []
    attacks = [line for _, lines in settings for line in lines if not line.cell.is_control]
    scored: dict[str, list[BoardLine]] = {NONE: []}
    for line in attacks:
        scored.setdefault(line.cell.defense, []).extend([line] if line.is_scored else [])
    return tuple(DefenseFinding(defense, tuple(of_it), prices.get(defense)) for defense, of_it in scored.items())
