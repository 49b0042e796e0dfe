"""Recovery curves: the share of images better than a threshold, over all thresholds; intervals at stated ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradinv.metrics.boards.label_board import proportion
from gradinv.metrics.images.facts import Facts, facts_of
from gradinv.metrics.records.samples import Sample, Values
from gradinv.metrics.statistics.intervals import Interval, interval

STATED: Mapping[str, tuple[float, ...]] = {"psnr": (20.0, 30.0), "ssim": (0.5, 0.9)}
"""Thresholds at which a share is stated with its interval, by metric."""


@dataclass(frozen=True)
class Recovery:
    """The curve of one sample: above `thresholds[i]`, and up to the next, the share is `shares[i]`; before all it is 1.

    Thresholds run from what every image passes to what none does; for a metric where lower is better, downwards.
    """

    thresholds: np.ndarray
    shares: np.ndarray

    def at(self, thresholds: np.ndarray, facts: Facts) -> np.ndarray:
        """The share at each of these thresholds."""
        places = np.searchsorted(facts.sign * self.thresholds, facts.sign * thresholds, side="right")
        return np.concatenate([[1.0], self.shares])[places]


def recovery(values: Iterable[float], facts: Facts) -> Recovery:
    """The curve of these values, one an image; a value that equals the threshold is not better than it.

    ValueError for no values, or for one that is not finite: cap them first.

    >>> from gradinv.metrics.images.facts import facts_of
    >>> curve = recovery([10.0, 20.0, 20.0, 30.0], facts_of("psnr"))
    >>> curve.thresholds.tolist(), curve.shares.tolist()
    ([10.0, 20.0, 30.0], [0.75, 0.25, 0.0])
    """
    found = facts.sign * np.fromiter(values, dtype=np.float64)
    if not found.size or not np.isfinite(found).all():
        raise ValueError("a recovery curve needs finite values, and one at least")
    steps, counts = np.unique(found, return_counts=True)
    return Recovery(facts.sign * steps, 1 - np.cumsum(counts) / found.size)


def envelope(curves: Sequence[Recovery], facts: Facts) -> tuple[Recovery, Recovery]:
    """The lowest and the highest of several curves at each threshold: the band of the controls, and their best."""
    steps = np.unique(np.concatenate([facts.sign * curve.thresholds for curve in curves]))
    thresholds = facts.sign * steps
    shares = np.stack([curve.at(thresholds, facts) for curve in curves])
    return Recovery(thresholds, shares.min(0)), Recovery(thresholds, shares.max(0))


def share_better(values: Values, threshold: float, facts: Facts) -> Interval:
    """Share of images better than `threshold`, the mean over batches, with its 95 % interval; `n` counts batches.

    Batches of one image are independent trials (Clopper and Pearson 1934). Of larger ones the batch is the unit: the
    interval is that of the batches' shares. Where all batches have one share, that would have no width: then
    Clopper and Pearson's for as many trials as batches stands in, which is wider than the images' own.
    """
    batches: dict[int, list[bool]] = {}
    for (batch, _), value in values.items():
        batches.setdefault(batch, []).append(facts.sign * value > facts.sign * threshold)
    shares = [sum(found) / len(found) for _, found in sorted(batches.items())]
    n, mean = len(shares), math.fsum(shares) / len(shares)
    if len(set(shares)) == 1 or all(len(found) == 1 for found in batches.values()):
        least, most = math.floor(mean * n + 1e-9), math.ceil(mean * n - 1e-9)
        return Interval(mean, proportion(least, n).low, proportion(most, n).high, n)
    found = interval(shares)
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def curves_of(samples: Iterable[Sample], metric: str) -> dict[str, Recovery]:
    """Key -> curve, for the samples that have values of the metric."""
    facts = facts_of(metric)
    measured = ((sample.key, sample.values.get(metric)) for sample in samples)
    return {key: recovery(values.values(), facts) for key, values in measured if values and facts is not None}
