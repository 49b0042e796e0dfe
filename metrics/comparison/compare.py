"""One attack against another: differences paired by image, over the batches that both attacked, metric by metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradinv.metrics.images.facts import Facts
from gradinv.metrics.records.samples import Unit, Values
from gradinv.metrics.statistics.paired import holm, paired

FEWEST = 8
"""Common batches below which there is no verdict."""
LEVEL = 0.05
"""Share of false findings that is accepted, over all metrics of a comparison together."""

Means = Mapping[int, tuple[float, float]]
"""Batch -> the means of both sides over the images they share."""


@dataclass(frozen=True)
class Comparison:
    """By how much an attack is better than a baseline on one metric; a positive `gain` is better, whatever the metric.

    `ours` and `theirs` are the means over the `n` common batches of all seeds; [`low`, `high`] the 95 % interval of
    `gain`; `won` the share of batches won, a draw counting half; `p` the paired test's, `adjusted` for the other
    metrics of the comparison by Holm's rule. `p` is NaN below 2 batches, and where both are equal in every batch.
    """

    metric: str
    n: int
    images: int
    ours: float
    theirs: float
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
        if self.adjusted <= LEVEL and self.low > 0:
            return "better"
        return "worse" if self.adjusted <= LEVEL and self.high < 0 else "not distinguishable"


def compare(ours: Sequence[Values], theirs: Sequence[Values], *, metric: str, facts: Facts) -> Comparison | None:
    """Compare two attacks on one metric; `ours` and `theirs` hold, for each victim seed, (batch, image) -> value.

    A batch's value is the mean over the images that both sides have. Counted are the batches that every seed has.
    None where there is no such batch. Values must be finite.

    >>> from gradinv.metrics.images.facts import facts_of
    >>> ours, theirs = {(0, "a"): 12.0, (1, "b"): 15.0}, {(0, "a"): 10.0, (1, "b"): 14.0}
    >>> found = compare([ours], [theirs], metric="psnr", facts=facts_of("psnr"))
    >>> found.gain, found.n, found.won, found.outcome
    (1.5, 2, 1.0, 'no verdict')
    """
    seeds = [batch_pairs(own, other) for own, other in zip(ours, theirs, strict=True)]
    batches = sorted(set.intersection(*(set(pairs) for pairs in seeds)))
    if not batches:
        return None
    values = np.array([[pairs[batch] for batch in batches] for pairs in seeds])  # (seeds, batches, 2)
    gains = facts.sign * (values[..., 0] - values[..., 1])
    images = sum(len(common(own, other)) for own, other in zip(ours, theirs, strict=True))
    found = _tested(gains)
    mean_ours, mean_theirs = values.mean((0, 1)).tolist()
    won = float((gains > 0).mean() + (gains == 0).mean() / 2)
    return Comparison(metric, len(batches), images, mean_ours, mean_theirs, *found[:3], won, found[3])


def _tested(gains: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, interval and p-value of the gains (seeds, batches)."""
    if gains.shape[1] < 2:
        return float(gains.mean()), np.nan, np.nan, np.nan
    if not gains.any():
        return 0.0, 0.0, 0.0, np.nan
    result = paired(gains)
    return result.interval.mean, result.interval.low, result.interval.high, result.p


def common(ours: Values, theirs: Values) -> list[Unit]:
    """The images that both sides have, batch by batch."""
    return sorted(unit for unit in ours if unit in theirs)


def batch_pairs(ours: Values, theirs: Values) -> Means:
    """Batch -> both means over the images that both sides have; batches without such an image are left out."""
    groups: dict[int, list[tuple[float, float]]] = {}
    for unit in common(ours, theirs):
        groups.setdefault(unit[0], []).append((ours[unit], theirs[unit]))
    return {batch: _means(values) for batch, values in groups.items()}


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    own, other = np.array(pairs).mean(0).tolist()
    return own, other


def adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one family with Holm's adjustment; those that are equal to the last digit are no tests."""
    tests = [one for one in found if not np.isnan(one.p)]
    values = iter(holm([one.p for one in tests]))
    return [one if np.isnan(one.p) else replace(one, adjusted=next(values)) for one in found]
