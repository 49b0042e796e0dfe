"""One attack against another: differences paired by image, over the batches that both attacked, metric by metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradinv.metrics.images import Facts, facts_of
from gradinv.metrics.records import Sample, Unit, Values
from gradinv.metrics.statistics import holm, paired

# With fewer, Student's quantile is above 2.4, and an interval tells of their number more than of the attacks.
FEWEST = 8
"""Common batches below which there is no verdict."""
LEVEL = 0.05
"""Share of false findings that is accepted, over all metrics of a comparison together."""

PairedMeans = Mapping[int, tuple[float, float]]
"""Batch -> the means of attack and baseline over the images they share."""


@dataclass(frozen=True)
class Comparison:
    """By how much an attack is better than a baseline on one metric; a positive `gain` is better, whatever the metric.

    `attack_mean` and `baseline_mean` are over the `n` common batches of all seeds; [`low`, `high`] the 95 % interval of
    `gain`; `won` the share of batches won, a draw counting half; `p` the paired test's, `adjusted` for the other
    metrics of the comparison by Holm's rule. `p` is NaN below 2 batches, and where both are equal in every batch.
    """

    metric: str
    n: int
    images: int
    attack_mean: float
    baseline_mean: float
    gain: float
    low: float
    high: float
    won: float
    p: float
    adjusted: float = np.nan

    @property
    def equal(self) -> bool:
        """Whether every batch is a draw to the last digit, so that there is nothing to test."""
        return self.gain == self.low == self.high == 0

    @property
    def outcome(self) -> str:
        """`better`, `worse`, `equal`, `not distinguishable`, or `no verdict` below 8 batches.

        Better and worse need both: the whole interval on one side of 0, and an adjusted p-value of at most 0.05.
        """
        if self.n < FEWEST:
            return "no verdict"
        if self.equal:
            return "equal"
        # Near 0 the two may disagree: from 30 batches on the interval is a bootstrap's, and the test is still
        # Student's.
        if self.adjusted <= LEVEL and self.low > 0:
            return "better"
        return "worse" if self.adjusted <= LEVEL and self.high < 0 else "not distinguishable"


def compare(attack: Sequence[Values], baseline: Sequence[Values], *, metric: str, facts: Facts) -> Comparison | None:
    """Compare two attacks on one metric; both sides hold, for each victim seed, (batch, image) -> value.

    A batch's value is the mean over the images that both sides have. Counted are the batches that every seed has.
    None where there is no such batch. Values must be finite.

    >>> from gradinv.metrics.images.facts import facts_of
    >>> attack, baseline = {(0, "a"): 12.0, (1, "b"): 15.0}, {(0, "a"): 10.0, (1, "b"): 14.0}
    >>> comparison = compare([attack], [baseline], metric="psnr", facts=facts_of("psnr"))
    >>> comparison.gain, comparison.n, comparison.won, comparison.outcome
    (1.5, 2, 1.0, 'no verdict')
    """
    seeds = [paired_means(*values) for values in zip(attack, baseline, strict=True)]
    # Seeds and batches are crossed in the test, so a batch that one seed lacks has no place in the table.
    batches = sorted(set.intersection(*(set(means) for means in seeds)))
    if not batches:
        return None
    table = np.array([[means[batch] for batch in batches] for means in seeds])  # (seeds, batches, 2)
    gains = facts.sign * (table[..., 0] - table[..., 1])
    images = sum(len(common_images(*values)) for values in zip(attack, baseline, strict=True))
    gain, low, high, p = _tested(gains)
    attack_mean, baseline_mean = table.mean((0, 1)).tolist()
    # A draw counts half, so that an attack against itself wins half of its batches.
    won = float((gains > 0).mean() + (gains == 0).mean() / 2)
    return Comparison(metric, len(batches), images, attack_mean, baseline_mean, gain, low, high, won, p)


def compare_samples(attack: Sequence[Sample], baseline: Sequence[Sample], metric: str) -> Comparison | None:
    """`compare` of samples, one for each victim seed; None also where nobody knows which values are better."""
    facts = facts_of(metric)
    if facts is None:
        return None
    values = ([sample.values.get(metric, {}) for sample in side] for side in (attack, baseline))
    return compare(*values, metric=metric, facts=facts)


def _tested(gains: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, interval and p-value of the gains (seeds, batches)."""
    if gains.shape[1] < 2:
        return float(gains.mean()), np.nan, np.nan, np.nan
    # Draws everywhere are no test: their spread is 0, and a p-value would cost the other metrics evidence.
    if not gains.any():
        return 0.0, 0.0, 0.0, np.nan
    result = paired(gains)
    return result.interval.mean, result.interval.low, result.interval.high, result.p


def common_images(attack: Values, baseline: Values) -> list[Unit]:
    """The images that both sides have, batch by batch."""
    return sorted(unit for unit in attack if unit in baseline)


def paired_means(attack: Values, baseline: Values) -> PairedMeans:
    """Batch -> both means over the images that both sides have; batches without such an image are left out."""
    # By image, never by slot: two attacks may have the same images of a batch and not all of them.
    batches: dict[int, list[tuple[float, float]]] = {}
    for unit in common_images(attack, baseline):
        batches.setdefault(unit[0], []).append((attack[unit], baseline[unit]))
    return {batch: _means(values) for batch, values in batches.items()}


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    attack, baseline = np.array(pairs).mean(0).tolist()
    return attack, baseline


def adjusted(family: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one family with Holm's adjustment; those that are equal to the last digit are no tests."""
    # Counted as tests, draws would make all others need more evidence.
    values = iter(holm([comparison.p for comparison in family if not np.isnan(comparison.p)]))
    return [
        comparison if np.isnan(comparison.p) else replace(comparison, adjusted=next(values)) for comparison in family
    ]
