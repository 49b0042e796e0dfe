"""Which samples may meet: those that were granted the same things; of the others, which field keeps them apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradinv.metrics.keys import parse_key
from gradinv.metrics.records import Cell, Sample, Setting, address_of, setting_of, title
from gradinv.metrics.registry import RequestError, unknown

SEED = "victim_seed"
BUDGET = "budget"
_BUDGETS_APART = 1.05  # more than this ratio: an attack that spends its last step differently is not another budget

Differences = Mapping[str, tuple[Any, Any]]
"""Name of a field -> its value in either of two settings."""


class NotComparableError(RequestError):
    """Two attacks without a setting in common; its text names the fields in which the nearest rows differ."""


@dataclass(frozen=True)
class Meeting:
    """An attack and a baseline in one setting, for each victim seed that both attacked."""

    setting: Setting
    pairs: Mapping[int, tuple[Sample, Sample]]

    @property
    def attack(self) -> list[Sample]:
        """The attack's samples, in the order of the seeds."""
        return [pair[0] for pair in self.pairs.values()]

    @property
    def baseline(self) -> list[Sample]:
        """The baseline's samples, in the order of the seeds."""
        return [pair[1] for pair in self.pairs.values()]


def find_key(text: str, samples: Iterable[Sample]) -> str:
    """The canonical key that `text` means; UnknownNameError's words in a NotComparableError where no sample has it."""
    keys = sorted({sample.key for sample in samples if not sample.is_control})
    # In its canonical form, so that `1e-4` is found where the records say `0.0001`.
    key = str(parse_key(text))
    if key not in keys:
        raise NotComparableError(unknown("attack of these records", key, keys))
    return key


def meetings(samples: Sequence[Sample], attack: str, against: str, *, any_budget: bool) -> list[Meeting]:
    """Every setting in which both keys have values, seeds side by side, in the order of the attack's samples.

    With `any_budget` an attack without a baseline of its own budget meets those of the others. NotComparableError
    where there is no such setting.
    """
    if attack == against:
        raise NotComparableError(f"{attack} would be compared with itself; give another --attack or --against")
    attacks, baselines = (_scored(samples, key) for key in (attack, against))
    groups: dict[tuple[Any, ...], dict[int, tuple[Sample, Sample]]] = {}
    for sample in attacks:
        for partner in _partners(sample, baselines, any_budget):
            # The partner's budget tells apart what an attack without an equal meets: each budget is a meeting.
            shared = (*setting_of(sample.cell, without=[SEED]).values(), partner.cell.budget)
            groups.setdefault(shared, {})[sample.cell.victim_seed] = (sample, partner)
    if not groups:
        raise NotComparableError(_why_never(attack, against, attacks, baselines))
    return [_meeting(pairs) for pairs in groups.values()]


def _meeting(pairs: Mapping[int, tuple[Sample, Sample]]) -> Meeting:
    first, _ = next(iter(pairs.values()))
    return Meeting(setting_of(first.cell, without=[SEED]), dict(sorted(pairs.items())))


def _scored(samples: Iterable[Sample], key: str) -> list[Sample]:
    scored = [sample for sample in samples if sample.key == key and not sample.is_control and sample.values]
    if not scored:
        raise NotComparableError(f"no trial of {key} has values: all were skipped or failed")
    return scored


def _partners(attack: Sample, baselines: Iterable[Sample], any_budget: bool) -> list[Sample]:
    """The samples of the baseline that were granted the same; of any budget only where none has the same."""
    setting = setting_of(attack.cell, without=[BUDGET])
    alike = [sample for sample in baselines if setting_of(sample.cell, without=[BUDGET]) == setting]
    equal = [sample for sample in alike if sample.cell.budget == attack.cell.budget]
    return equal if equal or not any_budget else alike


def differences(cell: Cell, neighbour: Cell) -> Differences:
    """Name -> both values, for the fields of two cells' settings that differ."""
    first, second = setting_of(cell), setting_of(neighbour)
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def nearest(pairs: Iterable[tuple[Cell, Cell]]) -> Differences:
    """The differences of the pair that differs in fewest fields; of several the first in the alphabet of names.

    Pairs of equal setting do not count; nothing where no pair is left.
    """
    apart = [fields for pair in pairs if (fields := differences(*pair))]
    # By names too, so that the text does not depend on the order of the rows.
    return min(apart, key=lambda fields: (len(fields), list(fields)), default={})


def in_words(fields: Differences) -> str:
    """The fields with both values: `labels none against known`."""
    return ", ".join(f"{name} {first} against {second}" for name, (first, second) in fields.items())


def _why_never(attack: str, against: str, attacks: Sequence[Sample], baselines: Sequence[Sample]) -> str:
    """Why no two samples meet: the fields in which the nearest ones differ."""
    fields = nearest((sample.cell, baseline.cell) for sample in attacks for baseline in baselines)
    if list(fields) == [BUDGET]:
        spent, baseline_spent = fields[BUDGET]
        return (
            f"unequal budgets: {attack} had {spent} evaluations, {against} {baseline_spent}; run them with the same, "
            f"or pass --allow-unequal-budget"
        )
    return f"{attack} and {against} were never granted the same; the nearest rows differ in {in_words(fields)}"


def left_alone(samples: Sequence[Sample], attack: str, against: str, having_met: Iterable[Meeting]) -> list[str]:
    """One line for each sample of the attack that meets no baseline, with the fields that keep the nearest apart."""
    met = {address_of(sample.cell) for meeting in having_met for sample in meeting.attack}
    baselines = _scored(samples, against)
    return [
        f"not compared: {attack}, {title(setting_of(sample.cell))}: the nearest row of {against} differs in "
        + in_words(nearest((sample.cell, baseline.cell) for baseline in baselines))
        for sample in _scored(samples, attack)
        if address_of(sample.cell) not in met
    ]


def unequal_budgets(attack: Iterable[Sample], baseline: Iterable[Sample]) -> str:
    """In words, how far the budgets are apart; empty where they are equal.

    A budget in evaluations counts as granted, whatever of it was spent; above it, and for `paper`, what was spent. A
    closed form may be cheaper: it has no use for what the other spends.
    """
    sides = [list(attack), list(baseline)]
    first, second = map(_budget, sides)
    if first is None or second is None:
        return "unknown budgets: the evaluations that were spent are not known"
    cheaper = sides[0] if first < second else sides[1]
    if max(first, second) <= _BUDGETS_APART * min(first, second) or all(sample.closed_form for sample in cheaper):
        return ""
    return f"unequal budgets: {first:,.0f} against {second:,.0f} evaluations"


def _budget(samples: Sequence[Sample]) -> float | None:
    """The largest budget among the samples, granted or spent; None where neither is known."""
    # An attack that stopped early could have gone on; one that overran had more than it was granted.
    granted = [float(sample.cell.budget) for sample in samples if sample.cell.budget.isdecimal()]
    spent = [sample.evaluations for sample in samples if sample.evaluations is not None]
    return max(granted + spent, default=None)
