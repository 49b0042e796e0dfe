"""Which samples may meet: those that were granted the same things; of the others, which field keeps them apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradinv.metrics.boards.columns import SETTING
from gradinv.metrics.keys import parse_key
from gradinv.metrics.records.samples import Sample
from gradinv.metrics.records.settings import title
from gradinv.metrics.registry import RequestError, unknown

SEED = "victim_seed"
BUDGET = "budget"
_BUDGETS_APART = 1.05  # more than this ratio: an attack that spends its last step differently is not another budget


class NotComparableError(RequestError):
    """Two attacks without a setting in common; its text names the fields in which the nearest rows differ."""


@dataclass(frozen=True)
class Meeting:
    """An attack and a baseline in one setting, for each victim seed that both attacked."""

    setting: Mapping[str, Any]
    pairs: Mapping[int, tuple[Sample, Sample]]

    @property
    def ours(self) -> list[Sample]:
        """The attack's samples, in the order of the seeds."""
        return [pair[0] for pair in self.pairs.values()]

    @property
    def theirs(self) -> list[Sample]:
        """The baseline's samples, in the order of the seeds."""
        return [pair[1] for pair in self.pairs.values()]


def find_key(text: str, samples: Iterable[Sample]) -> str:
    """The canonical key that `text` means; UnknownNameError's words in a NotComparableError where no sample has it."""
    keys = sorted({sample.key for sample in samples if not sample.is_control})
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
    ours, theirs = (_scored(samples, key) for key in (attack, against))
    groups: dict[tuple[Any, ...], dict[int, tuple[Sample, Sample]]] = {}
    for own in ours:
        for other in _partners(own, theirs, any_budget):
            where = (*_but(own, SEED).values(), other.setting[BUDGET])
            groups.setdefault(where, {})[own.setting[SEED]] = (own, other)
    if not groups:
        raise NotComparableError(_apart(attack, against, ours, theirs))
    return [
        Meeting(_but(next(iter(pairs.values()))[0], SEED), dict(sorted(pairs.items()))) for pairs in groups.values()
    ]


def _scored(samples: Iterable[Sample], key: str) -> list[Sample]:
    found = [sample for sample in samples if sample.key == key and not sample.is_control and sample.values]
    if not found:
        raise NotComparableError(f"no trial of {key} has values: all were skipped or failed")
    return found


def _but(sample: Sample, *names: str) -> dict[str, Any]:
    return {name: value for name, value in sample.setting.items() if name not in names}


def _partners(own: Sample, theirs: Iterable[Sample], any_budget: bool) -> list[Sample]:
    """The samples of the baseline that were granted the same; of any budget only where none has the same."""
    like = [other for other in theirs if _but(other, BUDGET) == _but(own, BUDGET)]
    same = [other for other in like if other.setting[BUDGET] == own.setting[BUDGET]]
    return same if same or not any_budget else like


def _apart(attack: str, against: str, ours: Iterable[Sample], theirs: Sequence[Sample]) -> str:
    """Why no two samples meet: the fields in which the nearest ones differ."""
    differing = (differences(own.setting, other.setting) for own in ours for other in theirs)
    nearest = min(differing, key=lambda found: (len(found), list(found)))
    fields = ", ".join(f"{name} {own} against {other}" for name, (own, other) in nearest.items())
    if list(nearest) == [BUDGET]:
        own, other = nearest[BUDGET]
        return (
            f"unequal budgets: {attack} had {own} evaluations, {against} {other}; run them with the same, "
            f"or pass --allow-unequal-budget"
        )
    return f"{attack} and {against} were never granted the same; the nearest rows differ in {fields}"


def differences(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Name -> both values, for the fields of two settings that differ."""
    return {name: (own[name], other[name]) for name in SETTING if own[name] != other[name]}


def left_alone(samples: Sequence[Sample], attack: str, against: str, found: Iterable[Meeting]) -> list[str]:
    """One line for each sample of the attack that meets no baseline, with the fields that keep the nearest apart."""
    met = {sample.place for meeting in found for sample in meeting.ours}
    theirs = _scored(samples, against)
    lines = []
    for own in (sample for sample in _scored(samples, attack) if sample.place not in met):
        nearest = min((differences(own.setting, other.setting) for other in theirs), key=len)
        fields = ", ".join(f"{name} {mine} against {yours}" for name, (mine, yours) in nearest.items())
        lines.append(f"not compared: {attack}, {title(own.setting)}: the nearest row of {against} differs in {fields}")
    return lines


def unequal_budgets(ours: Iterable[Sample], theirs: Iterable[Sample]) -> str:
    """In words, how far the budgets are apart; empty where they are equal.

    A budget in evaluations counts as granted, whatever of it was spent; above it, and for `paper`, what was spent.
    """
    mine, yours = (_budget(list(samples)) for samples in (ours, theirs))
    if mine is None or yours is None:
        return "unknown budgets: the evaluations that were spent are not known"
    if max(mine, yours) <= _BUDGETS_APART * min(mine, yours):
        return ""
    return f"unequal budgets: {mine:,.0f} against {yours:,.0f} evaluations"


def _budget(samples: Sequence[Sample]) -> float | None:
    """The largest budget among the samples, granted or spent; None where neither is known."""
    words = (sample.setting[BUDGET] for sample in samples)
    granted = [float(word) for word in words if word.isdecimal()]
    spent = [sample.evaluations for sample in samples if sample.evaluations is not None]
    return max(granted + spent, default=None)
