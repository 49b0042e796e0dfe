"""Findings: everything that is measured about an attack and a baseline in one setting, for table and verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gradinv.metrics.comparison.compare import Comparison, adjusted, compare_samples
from gradinv.metrics.comparison.meetings import Meeting, NotComparableError, left_alone, meetings, unequal_budgets
from gradinv.metrics.images import board_metrics, facts_of
from gradinv.metrics.leakage import leakage_of
from gradinv.metrics.records import Sample, Unit, controls_for
from gradinv.metrics.statistics import optimality

Beaten = tuple[int, int]
"""For how many victim seeds an attack beats its controls, and for how many that is known."""


@dataclass(frozen=True)
class Findings:
    """The comparisons of one meeting; `optimality` holds the attack's and the baseline's, by metric.

    `budgets` says in words how far the budgets are apart, empty where they are equal; `verdict_despite` whether a
    verdict is wanted all the same.
    """

    attack: str
    against: str
    meeting: Meeting
    comparisons: list[Comparison]
    not_measured: list[str]
    beaten: tuple[Beaten, Beaten]
    budgets: str = ""
    verdict_despite: bool = False
    optimality: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[tuple[str, list[Sample]], tuple[str, list[Sample]]]:
        """Key and samples of the attack, and those of the baseline."""
        return (self.attack, self.meeting.attack), (self.against, self.meeting.baseline)

    @property
    def n_batches(self) -> int:
        """Common batches of the metric that has most."""
        return max((comparison.n for comparison in self.comparisons), default=0)

    @property
    def n_images(self) -> int:
        """Common images of the metric that has most, over all seeds."""
        return max((comparison.images for comparison in self.comparisons), default=0)


def findings_of(
    samples: Sequence[Sample], attack: str, baselines: Sequence[str], *, any_budget: bool
) -> tuple[list[Findings], list[str]]:
    """Compare `attack` with each baseline in every setting they share; also one line for all that is left out.

    The p-values of one setting, over all metrics and baselines, are adjusted together. NotComparableError where
    nothing can be compared.
    """
    unadjusted: list[Findings] = []
    notes: list[str] = []
    reason: NotComparableError | None = None
    for against in dict.fromkeys(baselines):
        try:
            met = meetings(samples, attack, against, any_budget=any_budget)
        except NotComparableError as error:
            # One baseline that cannot be met leaves the others; only where none can is it an error.
            notes.append(f"not compared: {error}")
            reason = error
            continue
        notes += left_alone(samples, attack, against, met)
        unadjusted += [_findings(samples, attack, against, meeting, any_budget) for meeting in met]
    if reason is not None and not unadjusted:
        raise reason
    # All metrics and all baselines of a setting are one family: who looks at many of them finds something by chance.
    families: dict[tuple[Any, ...], list[Findings]] = {}
    for findings in unadjusted:
        families.setdefault(tuple(findings.meeting.setting.values()), []).append(findings)
    finished = [findings for family in families.values() for findings in _with_optimality(_adjusted(family))]
    return finished, notes + _unknown_metrics(samples)


def _findings(samples: Sequence[Sample], attack: str, against: str, meeting: Meeting, any_budget: bool) -> Findings:
    """One meeting, its p-values not yet adjusted."""
    metrics = _metrics([*meeting.attack, *meeting.baseline])
    comparisons = {metric: compare_samples(meeting.attack, meeting.baseline, metric) for metric in metrics}
    return Findings(
        attack=attack,
        against=against,
        meeting=meeting,
        comparisons=[comparison for comparison in comparisons.values() if comparison is not None],
        not_measured=[metric for metric, comparison in comparisons.items() if comparison is None],
        beaten=(_beaten(meeting.attack, samples), _beaten(meeting.baseline, samples)),
        budgets=unequal_budgets(meeting.attack, meeting.baseline),
        verdict_despite=any_budget,
    )


def _metrics(samples: Iterable[Sample]) -> list[str]:
    """The metrics of every board, then those of plug-ins that some sample has, as far as their facts are known."""
    # Without its facts nobody knows which values of a metric are better.
    measured = sorted({metric for sample in samples for metric in sample.values})
    return [metric for metric in dict.fromkeys((*board_metrics(), *measured)) if facts_of(metric) is not None]


def _unknown_metrics(samples: Iterable[Sample]) -> list[str]:
    names = sorted({metric for sample in samples for metric in sample.values if facts_of(metric) is None})
    return [f"{name}: not compared, as its plug-in is not loaded; pass --plugin FILE" for name in names]


def _beaten(seeds: Iterable[Sample], samples: Sequence[Sample]) -> Beaten:
    """For how many of the seeds the attack beats every control in some respect, of those where that is known."""
    verdicts = [leakage_of(attack, controls_for(attack, samples)).gradient for attack in seeds]
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(map(bool, known)), len(known)


def _adjusted(family: Sequence[Findings]) -> list[Findings]:
    values = iter(adjusted([comparison for findings in family for comparison in findings.comparisons]))
    return [replace(findings, comparisons=[next(values) for _ in findings.comparisons]) for findings in family]


def _with_optimality(family: Sequence[Findings]) -> list[Findings]:
    """The findings of one setting with the optimality of each attack among all of them, where budgets are equal."""
    # The best of all is what optimality divides by: one that may spend more would set it for those that may not.
    if any(findings.budgets for findings in family):
        return list(family)
    sides = [family[0].meeting.attack, *(findings.meeting.baseline for findings in family)]
    scores: list[dict[str, tuple[float, float]]] = [{} for _ in family]
    for metric in _metrics(sample for side in sides for sample in side):
        optimalities = _optimalities(sides, metric)
        if optimalities is not None:
            for score, baseline in zip(scores, optimalities[1:], strict=True):
                score[metric] = (optimalities[0], baseline)
    return [replace(findings, optimality=score) for findings, score in zip(family, scores, strict=True)]


def _optimalities(sides: Sequence[Sequence[Sample]], metric: str) -> list[float] | None:
    """The optimality of each side, in their order; None where it is not defined, as for a value of a whole batch."""
    facts = facts_of(metric)
    if facts is None or facts.per != "image":
        return None
    return optimality([_images(side, metric) for side in sides], facts)


def _images(side: Iterable[Sample], metric: str) -> dict[tuple[int, Unit], float]:
    # The seed is a part of the name: the same image from another victim is another task.
    images: dict[tuple[int, Unit], float] = {}
    for sample in side:
        images |= {(sample.cell.victim_seed, unit): value for unit, value in sample.values.get(metric, {}).items()}
    return images
