"""Recovery curves: the share of images better than a threshold, over all thresholds; intervals at stated ones."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from gradinv.metrics.images import Facts
from gradinv.metrics.statistics.intervals import Interval, interval
from gradinv.metrics.statistics.proportions import proportion

Image = TypeVar("Image", bound=Hashable)

_ROUNDING = 1e-9  # of a sum of shares: 2.9999999999 successes are 3


@dataclass(frozen=True)
class Recovery:
    """A curve of steps: above `thresholds[i]`, and up to the next, the share is `shares[i]`; before all it is 1.

    Thresholds run from what every image passes to what none does; for a metric where lower is better, downwards.
    """

    thresholds: np.ndarray
    shares: np.ndarray

    def at(self, thresholds: np.ndarray, facts: Facts) -> np.ndarray:
        """The share at each of these thresholds."""
        steps_passed = np.searchsorted(facts.sign * self.thresholds, facts.sign * thresholds, side="right")
        return np.concatenate([[1.0], self.shares])[steps_passed]


def recovery(values: Iterable[float], facts: Facts) -> Recovery:
    """The curve of these values, one an image; a value that equals the threshold is not better than it.

    ValueError for no values, or for one that is not finite: cap them first.

    >>> from gradinv.metrics.images.facts import facts_of
    >>> curve = recovery([10.0, 20.0, 20.0, 30.0], facts_of("psnr"))
    >>> curve.thresholds.tolist(), curve.shares.tolist()
    ([10.0, 20.0, 30.0], [0.75, 0.25, 0.0])
    """
    # Turned so that higher is better, whatever the metric; the thresholds are turned back.
    goodness = facts.sign * np.fromiter(values, dtype=np.float64)
    if not goodness.size or not np.isfinite(goodness).all():
        raise ValueError("a recovery curve needs finite values, and one at least")
    steps, counts = np.unique(goodness, return_counts=True)
    return Recovery(facts.sign * steps, 1 - np.cumsum(counts) / goodness.size)


def envelope(curves: Sequence[Recovery], facts: Facts) -> tuple[Recovery, Recovery]:
    """The lowest and the highest of several curves at each threshold: the band of the controls, and their best."""
    steps = np.unique(np.concatenate([facts.sign * curve.thresholds for curve in curves]))
    thresholds = facts.sign * steps
    shares = np.stack([curve.at(thresholds, facts) for curve in curves])
    return Recovery(thresholds, shares.min(0)), Recovery(thresholds, shares.max(0))


def share_better(values: Mapping[tuple[int, Image], float], threshold: float, facts: Facts) -> Interval:
    """Share of images better than `threshold`, the mean over batches, with its 95 % interval; `n` counts batches.

    `values` maps (batch, image) to a finite value. Batches of one image are independent trials (Clopper and Pearson
    1934). Of larger ones the batch is the unit: the interval is that of the batches' shares. Where all batches have one
    share, that would have no width: then Clopper and Pearson's for as many trials as batches stands in, which is wider
    than the images' own.
    """
    batches: dict[int, list[bool]] = {}
    for (batch, _), value in values.items():
        batches.setdefault(batch, []).append(facts.sign * value > facts.sign * threshold)
    shares = [sum(passed) / len(passed) for _, passed in sorted(batches.items())]
    n, mean = len(shares), math.fsum(shares) / len(shares)
    if len(set(shares)) == 1 or all(len(passed) == 1 for passed in batches.values()):
        # A share that is no whole number of batches lies between two: the interval holds both of theirs.
        least, most = math.floor(mean * n + _ROUNDING), math.ceil(mean * n - _ROUNDING)
        return Interval(mean, proportion(least, n).low, proportion(most, n).high, n)
    estimate = interval(shares)
    # Student's interval may leave [0, 1], a share cannot.
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))
