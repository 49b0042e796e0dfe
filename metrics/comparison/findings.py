"""Reports: everything that is measured about an attack and a baseline in one setting, ready for table and verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gradinv.metrics.boards.columns import METRICS_SHOWN
from gradinv.metrics.comparison.compare import Comparison, adjusted, compare
from gradinv.metrics.comparison.meetings import Meeting, NotComparableError, left_alone, meetings, unequal_budgets
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.records.samples import Sample, Unit, controls_for
from gradinv.metrics.statistics.intervals import gain_over_controls
from gradinv.metrics.statistics.optimality import optimality

Beaten = tuple[int, int]
"""For how many victim seeds an attack beats its controls, and for how many that is known."""


@dataclass(frozen=True)
class Report:
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
    optimality: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def n_batches(self) -> int:
        """Common batches of the metric that has most."""
        return max((one.n for one in self.comparisons), default=0)

    @property
    def n_images(self) -> int:
        """Common images of the metric that has most, over all seeds."""
        return max((one.images for one in self.comparisons), default=0)


def reports(
    samples: Sequence[Sample], attack: str, baselines: Sequence[str], *, any_budget: bool
) -> tuple[list[Report], list[str]]:
    """Compare `attack` with each baseline in every setting they share; also one line for all that is left out.

    The p-values of one setting, over all metrics and baselines, are adjusted together. NotComparableError where
    nothing can be compared.
    """
    made: list[Report] = []
    notes: list[str] = []
    reason: NotComparableError | None = None
    for against in dict.fromkeys(baselines):
        try:
            found = meetings(samples, attack, against, any_budget=any_budget)
        except NotComparableError as error:
            notes.append(f"not compared: {error}")
            reason = error
            continue
        notes += left_alone(samples, attack, against, found)
        made += [_report(samples, attack, against, meeting, any_budget) for meeting in found]
    if reason is not None and not made:
        raise reason
    groups: dict[tuple[object, ...], list[Report]] = {}
    for report in made:
        groups.setdefault(tuple(report.meeting.setting.values()), []).append(report)
    finished = [report for group in groups.values() for report in _with_optimality(_adjusted(group))]
    return finished, notes + _unknown_metrics(samples)


def _report(samples: Sequence[Sample], attack: str, against: str, meeting: Meeting, any_budget: bool) -> Report:
    """One meeting, its p-values not yet adjusted."""
    found = {metric: _compared(meeting, metric) for metric in _metrics([*meeting.ours, *meeting.theirs])}
    return Report(
        attack=attack,
        against=against,
        meeting=meeting,
        comparisons=[one for one in found.values() if one is not None],
        not_measured=[metric for metric, one in found.items() if one is None],
        beaten=(_beaten(meeting.ours, samples), _beaten(meeting.theirs, samples)),
        budgets=unequal_budgets(meeting.ours, meeting.theirs),
        verdict_despite=any_budget,
    )


def _metrics(samples: Iterable[Sample]) -> list[str]:
    """The metrics of every board, then those of plug-ins that some sample has, as far as facts about them are known."""
    extra = sorted({metric for sample in samples for metric in sample.values if metric not in METRICS_SHOWN})
    return [metric for metric in (*METRICS_SHOWN, *extra) if facts_of(metric) is not None]


def _unknown_metrics(samples: Iterable[Sample]) -> list[str]:
    names = sorted({metric for sample in samples for metric in sample.values if facts_of(metric) is None})
    return [f"{name}: not compared, as its plug-in is not loaded; pass --plugin FILE" for name in names]


def _compared(meeting: Meeting, metric: str) -> Comparison | None:
    facts = facts_of(metric)
    if facts is None:
        return None
    ours, theirs = ([sample.values.get(metric, {}) for sample in side] for side in (meeting.ours, meeting.theirs))
    return compare(ours, theirs, metric=metric, facts=facts)


def _beaten(side: Iterable[Sample], samples: Sequence[Sample]) -> Beaten:
    """For how many of the seeds the attack's PSNR beats every control, of those where there are controls."""
    known = []
    for sample in side:
        controls = {name: control.means("psnr") for name, control in controls_for(sample, samples).items()}
        gain = gain_over_controls(sample.means("psnr"), controls, higher_is_better=True)
        if gain is not None and gain.n >= 2:
            known.append(gain.works)
    return sum(known), len(known)


def _adjusted(group: Sequence[Report]) -> list[Report]:
    values = iter(adjusted([one for report in group for one in report.comparisons]))
    return [replace(report, comparisons=[next(values) for _ in report.comparisons]) for report in group]


def _with_optimality(group: Sequence[Report]) -> list[Report]:
    """The reports of one setting with the optimality of each attack among all of them, where budgets are equal."""
    if any(report.budgets for report in group):
        return list(group)
    sides = [group[0].meeting.ours, *(report.meeting.theirs for report in group)]
    scores: list[dict[str, tuple[float, float]]] = [{} for _ in group]
    for metric in _metrics(sample for side in sides for sample in side):
        facts = facts_of(metric)
        found = None if facts is None else optimality([_images(side, metric) for side in sides], facts)
        if found is not None and metric != "label_accuracy":
            for score, theirs in zip(scores, found[1:], strict=True):
                score[metric] = (found[0], theirs)
    return [replace(report, optimality=score) for report, score in zip(group, scores, strict=True)]


def _images(side: Iterable[Sample], metric: str) -> dict[tuple[int, Unit], float]:
    return {
        (sample.setting["victim_seed"], unit): value
        for sample in side
        for unit, value in sample.values.get(metric, {}).items()
    }
