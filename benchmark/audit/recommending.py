"""Which defenses of a run to choose from: those that no other beats, with their price, and those that fall."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gradinv.benchmark.audit.findings import NONE, DefenseFinding, finding_of_each_defense
from gradinv.benchmark.audit.words import leaking, listed, price_in_words, what_leaks, what_stops
from gradinv.benchmark.defenses import create_defense
from gradinv.metrics.records import Cell, Record
from gradinv.metrics.registry import RequestError
from gradinv.metrics.typesetting import counted, fixed

Place = tuple[str, ...]
Prices = Mapping[Place, Mapping[str, Mapping[str, Any]]]
"""Data set, image size, victim and seed -> defense -> its row in the table of `gradinv utility`."""


@dataclass(frozen=True)
class Standing:
    """Where a defense stands: what the strongest attack gets, whoever of those that know it and do not is stronger.

    `structure` is at most 1 (the original), `rank` the normalised rank of the original (0: named, 0.5: chance),
    `accuracy` that of a training with the defense; NaN where nobody measured it.
    """

    finding: DefenseFinding
    structure: float
    rank: float
    accuracy: float

    @classmethod
    def of(cls, finding: DefenseFinding) -> "Standing":
        """The standing of a tested defense."""
        price = finding.price or {}
        return cls(
            finding,
            max((line.number("structure_mean") for line in finding.lines), default=math.nan),
            min((line.number("identity_lowpass_mean") for line in finding.lines), default=math.nan),
            float(price.get("accuracy_mean", math.nan)),
        )

    def beats(self, other: "Standing") -> bool:
        """Leaks no more in structure and identity at no less accuracy, and is better in one of the three."""
        values = (-self.structure, self.rank, self.accuracy)
        others = (-other.structure, other.rank, other.accuracy)
        return all(a >= b for a, b in zip(values, others, strict=True)) and values != others


def recommendation(records: Sequence[Record], prices: Prices) -> Iterator[str]:
    """Sentences for each setting in which defenses were attacked, undefended clients among them.

    RequestError where there is no such setting.
    """
    groups = [list(group) for _, group in groupby(sorted(records, key=_place_of), key=_place_of)]
    compared = [group for group in groups if {NONE} < {record.cell.defense for record in group}]
    if not compared:
        raise RequestError("no victim was attacked both without a defense and with one: nothing to choose from")
    for group in compared:
        cell = group[0].cell
        size = f"{cell.image_size} px, batch size {cell.batch_size}"
        yield f"{cell.victim} ({cell.victim_state}) on {cell.dataset}, {size}"
        yield from _of_setting(group, prices.get(utility_place(cell), {}))


def utility_place(cell: Cell) -> Place:
    """What the table of `gradinv utility` and the trials of a setting have in common."""
    return (cell.dataset, str(cell.image_size), cell.victim, str(cell.victim_seed))


def _place_of(record: Record) -> tuple[str, ...]:
    return (*utility_place(record.cell), str(record.cell.batch_size))


def _of_setting(records: Sequence[Record], prices: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    findings = finding_of_each_defense(records, prices)
    undefended, defended = findings[0], [finding for finding in findings[1:] if finding.is_tested]
    yield f"  Without a defense: {what_leaks(undefended)}."
    standings = [Standing.of(finding) for finding in defended]
    if any(math.isnan(standing.accuracy) for standing in standings):
        yield "  What the defenses cost was not measured for all of them: run `gradinv utility` into utility.csv."
    front = [standing for standing in standings if not any(other.beats(standing) for other in standings)]
    yield (
        f"  {counted(len(front), 'defense')} of {len(standings)} to choose from: of the others each leaks no less "
        "structure and identity than one of these, at no more accuracy."
    )
    for standing in sorted(front, key=lambda standing: -standing.accuracy):
        finding = standing.finding
        stopped, price = what_stops(finding, undefended), price_in_words(finding, undefended)
        yield f"    {finding.defense}: {stopped}. {price}{_caution(finding)}"
    yield from _falling(defended)
    yield "  No attack that succeeds is no proof of safety: these attacks at these budgets are what was tried."


def _caution(finding: DefenseFinding) -> str:
    """What must be known of a defense that stops something by chance or by another network."""
    defense = create_defense(finding.defense)
    kinds = {"randomises": defense.randomises, "changes the network": defense.changes_model}
    reasons = [words for words, holds in kinds.items() if holds]
    if not reasons or finding.leaks:
        return ""
    return f" It {listed(reasons)}: an attack made against just that may get more than these did."


def _falling(defended: Sequence[DefenseFinding]) -> Iterator[str]:
    """Defenses of which somebody who knows them shows more than anybody who does not."""
    for finding in defended:
        told, untold = (
            DefenseFinding(finding.defense, tuple(line for line in finding.lines if line.cell.adaptive == knows))
            for knows in (True, False)
        )
        if more := [respect for respect in told.leaks if respect not in untold.leaks]:
            best = [max(side.lines, key=lambda line: line.number("psnr_mean")) for side in (untold, told)]
            numbers = [f"{line.cell.key} {fixed(line.number('psnr_mean'), 1)} dB" for line in best]
            yield (
                f"  {finding.defense} falls to an attacker who knows it: {leaking(more)} then "
                f"({numbers[0]} without, {numbers[1]} with that knowledge)."
            )
