"""The verdict: in which respects an attack beats every control, and what else gives the picture away."""

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace

import numpy as np

from gradinv.metrics.images import ANYWHERE, facts_of, is_identified, judge_of
from gradinv.metrics.records import Sample, sample_means_by_images
from gradinv.metrics.statistics import Gain, gain_over_controls, holm, one_sided

LEVEL = 0.05
"""Share of false verdicts that is accepted over the whole family, each test one-sided."""


def _named(metric: str) -> Callable[[str], bool]:
    return lambda name: name == metric


FAMILY: Mapping[str, Callable[[str], bool]] = {
    "pixels": _named("psnr"),
    "structure": _named("structure"),
    "identity": lambda name: bool(judge_of(name)),
}
"""Respect -> whether a metric measures it: identity is measured by every judge that looked."""
_BLIND = ("no_statistics", "other_statistics", "same_class", "mean_image")
"""Controls that have neither the batch's gradient nor its statistics."""
CHANCE = 0.5
"""Normalised rank of an original by a judge who sees nothing."""
IDENTIFIED = 0.05
"""Part of identity's error that is kept for the share of images identified; the mean rank has the rest."""
_LUCK = 0.25
"""How often at most an attack like its control identifies an image of a batch and the control does not: p (1 - p)."""


@dataclass(frozen=True)
class Tested:
    """An attack's gain over its controls in one respect; of several judges by the one that is convinced most.

    `p` is that of the respect, before it is corrected for the others; it `works` where an interval lies above 0. Both
    are the gain's, but for identity, which may leak by the share of images identified, or by the rank of the original
    wherever it lies, where the mean rank is silent.
    """

    metric: str
    gain: Gain
    p: float
    works: bool


@dataclass(frozen=True)
class Leakage:
    """What leaks in one setting, by respect.

    `gains` are over the best of all controls. `gradient`: respects in which the attack beats every control;
    `statistics`: in which the attack blind to the gradient beats what has no granted statistics; `either`: in which the
    attack beats what has neither, and these two do not say which it is from; `labels`: in which another image of the
    class beats the mean image; `prior`: in which the priors alone beat the mean image. None where the controls for that
    are missing. `untested`: respects that were not measured in two batches.
    """

    gains: Mapping[str, Tested]
    gradient: tuple[str, ...] | None = None
    statistics: tuple[str, ...] | None = None
    either: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    prior: tuple[str, ...] | None = None
    untested: tuple[str, ...] = field(default=())

    @property
    def leaks(self) -> tuple[str, ...] | None:
        """The respects that leak at all: from the gradient, from granted statistics, from either; None: not known."""
        if self.gradient is None and self.statistics is None:
            return None
        every = {*(self.gradient or ()), *(self.statistics or ()), *(self.either or ())}
        return tuple(respect for respect in FAMILY if respect in every)


def leakage_of(attack: Sample, controls: Mapping[str, Sample]) -> Leakage:
    """The verdict on an attack beside its controls (name -> sample).

    Each respect is an intersection-union test over the controls, so that only the number of respects is corrected for
    (Holm 1979). Values are paired by batch and images.
    """
    gains = _gains(attack, controls)
    gradient, statistics = _leaking(gains), _from_statistics(attack, controls)
    return Leakage(
        gains=gains,
        gradient=gradient,
        statistics=statistics,
        either=None if statistics is None else _from_either(attack, controls, {*(gradient or ()), *statistics}),
        labels=_beats(controls, "same_class", "mean_image"),
        prior=_from_prior(attack, controls),
        untested=tuple(respect for respect in FAMILY if respect not in gains or math.isnan(gains[respect].p)),
    )


def _gains(attack: Sample, controls: Mapping[str, Sample]) -> dict[str, Tested]:
    """The respects that attack and controls were measured in."""
    gains = {}
    for respect, belongs in FAMILY.items():
        tested = [test for metric in filter(belongs, attack.values) if (test := _tested(attack, controls, metric))]
        if tested:
            gains[respect] = min((_seconded(test, attack, belongs) for test in tested), key=_doubt)
    if "identity" in gains:
        gains["identity"] = _or_anywhere(_or_identified(gains["identity"], attack, controls), attack, controls)
    return gains


def _doubt(test: Tested) -> float:
    # Last of all: with NaN `min` would keep whichever test came first.
    return math.inf if math.isnan(test.p) else test.p


def _or_identified(test: Tested, attack: Sample, controls: Mapping[str, Sample]) -> Tested:
    """Identity by the mean rank or by the share of images identified, each with its part of the error.

    An attack that finds one image of four and nothing of the others has a mean rank that hardly differs from chance;
    one that finds seven of eight is acquitted by the rank of the last. By chance one image of a thousand is identified.
    """
    rank = test.p / (1 - IDENTIFIED)
    share = _gain_in_identified(attack, controls)
    if share is not None and share.works and share.p / IDENTIFIED < rank:
        return replace(test, p=share.p / IDENTIFIED, works=True)
    return replace(test, p=min(1.0, rank) if not math.isnan(rank) else rank)


def _or_anywhere(test: Tested, attack: Sample, controls: Mapping[str, Sample]) -> Tested:
    """Identity by what the judges see, or by the rank of the original wherever it lies, with half of the error each.

    Where the latter was not measured nothing changes. No judge seconds it: none sees what lies elsewhere.
    """
    anywhere = _tested(attack, controls, ANYWHERE)
    if anywhere is None:
        return test
    if anywhere.works and (not test.works or anywhere.p < test.p):
        return replace(test, p=min(1.0, 2 * anywhere.p), works=True)
    return replace(test, p=min(1.0, 2 * test.p) if not math.isnan(test.p) else test.p)


def _gain_in_identified(attack: Sample, controls: Mapping[str, Sample]) -> Gain | None:
    shares = _identified(attack)
    of_controls = {name: _identified(control) for name, control in controls.items()}
    gain = gain_over_controls(shares, of_controls, higher_is_better=True)
    if gain is None:
        return None
    # Student's test is certain where all differences are alike, which few batches are by luck.
    fewest = min(shared for share in of_controls.values() if (shared := len(shares.keys() & share.keys())))
    return replace(gain, p=float(np.max([gain.p, _LUCK**fewest])))


def _identified(sample: Sample) -> dict[tuple[int, tuple[str, ...]], float]:
    """Batch and names of its images -> share of them whose original every judge that looked ranks first."""
    judges = [values for metric, values in sample.values.items() if judge_of(metric)]
    images = set.intersection(*map(set, judges)) if judges else set()
    # In the order of the batches, which a bootstrap resamples by.
    firsts = {it: float(is_identified(ranks[it] for ranks in judges)) for it in sorted(images)}
    return sample_means_by_images(replace(sample, values={"identified": firsts}), "identified")


def _seconded(test: Tested, attack: Sample, belongs: Callable[[str], bool]) -> Tested:
    """The test of one judge, who needs every other one to see the original nearer than chance.

    The largest of the p-values counts, times the number of judges who might have led: whoever is fooled by a picture
    is overruled by the judge of another kind, and to ask several costs what asking costs. A respect with a single
    metric is that metric's test.
    """
    metrics = list(filter(belongs, attack.values))
    others = [_nearer_than_chance(attack, metric) for metric in metrics if metric != test.metric]
    # NaN, below two batches, must win: what is not known seconds nothing.
    p = float(np.max([test.gain.p, *others])) * len(metrics)
    return replace(test, p=min(1.0, p) if not math.isnan(p) else p)


def _nearer_than_chance(attack: Sample, metric: str) -> float:
    """p-value of the test that the mean normalised rank is at least that of chance."""
    return one_sided([CHANCE - rank for rank in attack.means(metric).values()])


def _tested(attack: Sample, controls: Mapping[str, Sample], metric: str) -> Tested | None:
    facts = facts_of(metric)
    if facts is None:
        return None
    gain = gain_over_controls(
        sample_means_by_images(attack, metric),
        {name: sample_means_by_images(control, metric) for name, control in controls.items()},
        higher_is_better=facts.direction == "higher",
    )
    return None if gain is None else Tested(metric, gain, gain.p, gain.works)


def _leaking(gains: Mapping[str, Tested]) -> tuple[str, ...] | None:
    """The respects whose gain is above 0 after correction over the family; None where none could be tested."""
    tested = {respect: test for respect, test in gains.items() if not math.isnan(test.p)}
    if not tested:
        return None
    adjusted = holm([test.p for test in tested.values()])
    # Both: a whole 95 % interval above 0, as printed, and the corrected test. Near 0 the two may disagree.
    return tuple(
        respect for (respect, test), p in zip(tested.items(), adjusted, strict=True) if test.works and p <= LEVEL
    )


def _beats(samples: Mapping[str, Sample], name: str, rival: str, *others: str) -> tuple[str, ...] | None:
    """The respects in which one control beats another, and all `others` that there are; None without either of the two.

    Only what the rival was measured in is looked at: to beat the others alone would say nothing of it.
    """
    if name not in samples or rival not in samples:
        return None
    measured = samples[rival].values
    sample = replace(samples[name], values={m: values for m, values in samples[name].values.items() if m in measured})
    return _leaking(_gains(sample, {other: samples[other] for other in (rival, *others) if other in samples}))


def _from_statistics(attack: Sample, controls: Mapping[str, Sample]) -> tuple[str, ...] | None:
    # Public statistics are no part of the private batch: what comes out of them is the prior's.
    if not attack.cell.granted_numbers_per_pixel:
        return None
    return _beats(controls, "prior_only", *_BLIND)


def _from_either(attack: Sample, controls: Mapping[str, Sample], told: Set[str]) -> tuple[str, ...] | None:
    """The respects, none of those `told`, in which the attack beats what has neither gradient nor statistics.

    To need a source that is named would acquit an attack that names every image, where the gradient adds too little to
    the statistics and they are too little alone. These tests are corrected over the respects, as the others are.
    """
    blind = {name: controls[name] for name in _BLIND if name in controls}
    leaking = _leaking(_gains(attack, blind))
    return None if leaking is None else tuple(respect for respect in leaking if respect not in told)


def _from_prior(attack: Sample, controls: Mapping[str, Sample]) -> tuple[str, ...] | None:
    blind = "no_statistics" if attack.cell.granted_numbers_per_pixel else "prior_only"
    return _beats(controls, blind, "mean_image")
