"""Which defenses of a run to choose from: those that no other beats, with their price, and those that fall."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradinv.benchmark.audit.findings import NONE, DefenseFinding, finding_of_each_defense
from gradinv.benchmark.audit.words import leaking, listed, price_in_words, what_leaks, what_stops
from gradinv.benchmark.defenses import create_defense
from gradinv.metrics.records import Prices, Record, by_setting, granted, title, utility_place, varying
from gradinv.metrics.registry import RequestError
from gradinv.metrics.statistics import undominated
from gradinv.metrics.typesetting import counted, fixed

_UNDEFENDED = {"defense": NONE, "adaptive": False}
_VARIED = tuple(_UNDEFENDED)
"""The fields of a setting that one choice runs over."""


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

    @property
    def merits(self) -> tuple[float, float, float]:
        """Of which more is better: little structure, a high rank, accuracy."""
        return (-self.structure, self.rank, self.accuracy)


def recommendation(records: Sequence[Record], prices: Prices) -> Iterator[str]:
    """Sentences for each setting in which defenses were attacked, undefended clients among them.

    RequestError where there is no such setting.
    """
    every = by_setting(dict.fromkeys(record.cell for record in records), _VARIED)
    # A proper superset: undefended clients, and others.
    compared = [(setting, cells) for setting, cells in every if {NONE} < {cell.defense for cell in cells}]
    if not compared:
        raise RequestError("no victim was attacked both without a defense and with one: nothing to choose from")
    names = varying([{**setting, **_UNDEFENDED} for setting, _ in compared])
    for setting, cells in compared:
        yield title({**setting, **_UNDEFENDED}, names, names_defense=False)
        yield granted({**setting, **_UNDEFENDED})
        chosen = set(cells)
        of_setting = [record for record in records if record.cell in chosen]
        yield from _of_setting(of_setting, prices.get(utility_place(cells[0]), {}))


def _of_setting(records: Sequence[Record], prices: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    findings = finding_of_each_defense(records, prices)
    undefended, defended = findings[0], [finding for finding in findings[1:] if finding.is_tested]
    yield f"  Without a defense: {what_leaks(undefended)}."
    standings = [Standing.of(finding) for finding in defended]
    if any(math.isnan(standing.accuracy) for standing in standings):
        yield "  What the defenses cost was not measured for all of them: run `gradinv utility` into utility.csv."
    named = {standing.finding.defense: standing for standing in standings}
    front = [named[name] for name in undominated({name: standing.merits for name, standing in named.items()})]
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
    disguises = create_defense(finding.defense).disguises
    if not disguises or finding.leaks:
        return ""
    return f" It {listed(disguises)}: an attack made against just that may get more than these did."


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
