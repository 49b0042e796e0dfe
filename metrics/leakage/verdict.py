"""The verdict: in which respects an attack beats every control, and what else gives the picture away."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gradinv.metrics.images import facts_of, judge_of
from gradinv.metrics.records import Sample, sample_means_by_images
from gradinv.metrics.statistics import Gain, gain_over_controls, holm

LEVEL = 0.05
"""Share of false verdicts that is accepted over the whole family, each test one-sided."""


def _named(metric: str) -> Callable[[str], bool]:
    return lambda name: name == metric


FAMILY: Mapping[str, Callable[[str], bool]] = {
    "pixels": _named("psnr"),
    "structure": _named("structure"),
    # By all judges that are there: who is fooled by a picture is overruled by the judge of another kind.
    "identity": lambda name: bool(judge_of(name)),
}
"""Respect -> whether a metric measures it. A respect leaks only where every metric of it says so."""


@dataclass(frozen=True)
class Tested:
    """An attack's gain over its controls in one respect, on the metric that is least convinced."""

    metric: str
    gain: Gain


@dataclass(frozen=True)
class Leakage:
    """What leaks in one setting, by respect.

    `gains` are over the best of all controls. `gradient`: respects in which the attack beats every control;
    `statistics`: in which the attack blind to the gradient beats what has no granted statistics; `labels`: in which
    another image of the class beats the mean image; `prior`: in which the priors alone beat the mean image. None where
    the controls for that are missing. `untested`: respects that were not measured in two batches.
    """

    gains: Mapping[str, Tested]
    gradient: tuple[str, ...] | None = None
    statistics: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    prior: tuple[str, ...] | None = None
    untested: tuple[str, ...] = field(default=())

    @property
    def leaks(self) -> tuple[str, ...] | None:
        """The respects that leak at all: from the gradient, or from granted statistics; None where nobody knows."""
        if self.gradient is None and self.statistics is None:
            return None
        every = {*(self.gradient or ()), *(self.statistics or ())}
        return tuple(respect for respect in FAMILY if respect in every)


def leakage_of(attack: Sample, controls: Mapping[str, Sample]) -> Leakage:
    """The verdict on an attack beside its controls (name -> sample).

    Each respect is an intersection-union test over the controls, so that only the number of respects is corrected for
    (Holm 1979). Values are paired by batch and images.
    """
    gains = _gains(attack, controls)
    return Leakage(
        gains=gains,
        gradient=_leaking(gains),
        statistics=_from_statistics(attack, controls),
        labels=_beats(controls, "same_class", ("mean_image",)),
        prior=_from_prior(attack, controls),
        untested=tuple(respect for respect in FAMILY if respect not in gains or gains[respect].gain.n < 2),
    )


def _gains(attack: Sample, controls: Mapping[str, Sample]) -> dict[str, Tested]:
    """The respects that attack and controls were measured in."""
    gains = {}
    for respect, belongs in FAMILY.items():
        tested = [test for metric in filter(belongs, attack.values) if (test := _tested(attack, controls, metric))]
        if tested:
            # The metric that is hardest to convince decides; one without a test (NaN) convinces nobody.
            gains[respect] = max(tested, key=lambda test: math.inf if math.isnan(test.gain.p) else test.gain.p)
    return gains


def _tested(attack: Sample, controls: Mapping[str, Sample], metric: str) -> Tested | None:
    facts = facts_of(metric)
    if facts is None:
        return None
    gain = gain_over_controls(
        sample_means_by_images(attack, metric),
        {name: sample_means_by_images(control, metric) for name, control in controls.items()},
        higher_is_better=facts.direction == "higher",
    )
    return None if gain is None else Tested(metric, gain)


def _leaking(gains: Mapping[str, Tested]) -> tuple[str, ...] | None:
    """The respects whose gain is above 0 after correction over the family; None where none could be tested."""
    tested = {respect: test.gain for respect, test in gains.items() if not math.isnan(test.gain.p)}
    if not tested:
        return None
    adjusted = holm([gain.p for gain in tested.values()])
    # Both: the whole 95 % interval above 0, as printed, and the corrected test. Near 0 the two may disagree.
    return tuple(
        respect for (respect, gain), p in zip(tested.items(), adjusted, strict=True) if gain.works and p <= LEVEL
    )


def _beats(samples: Mapping[str, Sample], name: str, others: Iterable[str]) -> tuple[str, ...] | None:
    """The respects in which one control beats others; None where it or all of them are missing."""
    rivals = {other: samples[other] for other in others if other in samples and samples[other].values}
    if name not in samples or not rivals:
        return None
    return _leaking(_gains(samples[name], rivals))


def _from_statistics(attack: Sample, controls: Mapping[str, Sample]) -> tuple[str, ...] | None:
    # Public statistics are no part of the private batch: what comes out of them is the prior's.
    if not attack.cell.granted_numbers_per_pixel:
        return None
    if "no_statistics" not in controls:
        return None
    return _beats(controls, "prior_only", ("no_statistics", "same_class", "mean_image"))


def _from_prior(attack: Sample, controls: Mapping[str, Sample]) -> tuple[str, ...] | None:
    blind = "no_statistics" if attack.cell.granted_numbers_per_pixel else "prior_only"
    return _beats(controls, blind, ("mean_image",))
