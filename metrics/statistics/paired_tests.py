"""Paired differences: interval and test over batches, over victims too where there are several, and Holm's rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from gradinv.metrics.statistics.intervals import Interval, interval

SEVERAL = 3
"""Victim seeds from which on a result is one about victims of this kind instead of about these victims."""


@dataclass(frozen=True)
class Paired:
    """The mean difference with its interval, and the p-value of the test that it is 0."""

    interval: Interval
    p: float


def paired(table: np.ndarray, *, confidence: float = 0.95) -> Paired:
    """Test the differences `table` (victim seeds, batches): every seed attacked on the same batches.

    Below 3 seeds the seeds are averaged and the batches are the sample: the interval is `interval`'s, the test
    Student's. From 3 seeds on both seeds and batches are samples (`_crossed`). Needs 2 batches; values must be finite.

    >>> paired(np.array([[1.0, 2.0, 3.0]]))
    Paired(interval=Interval(mean=2.0, low=-0.484..., high=4.484..., n=3), p=0.0741...)
    """
    if len(table) >= SEVERAL:
        return _crossed(table, confidence)
    sample = table.mean(0)
    difference = interval(sample, confidence=confidence)
    if difference.low == difference.high:  # constant: the test statistic would be x / 0
        return Paired(difference, float(difference.mean == 0))
    return Paired(difference, _two_sided(difference.mean, sample.std(ddof=1) / np.sqrt(sample.size), sample.size - 1))


def _crossed(table: np.ndarray, confidence: float) -> Paired:
    """Two crossed random factors: the variance of the mean holds the spread of seeds and that of batches.

    Clark 1973, "The language-as-fixed-effect fallacy" (F').
    """
    mean = table.mean()
    square, degrees = _mean_square(table)
    error = np.sqrt(square / table.size)
    half = stdtrit(degrees, (1 + confidence) / 2) * error
    difference = Interval(float(mean), float(mean - half), float(mean + half), table.shape[1])
    return Paired(difference, float(mean == 0) if error == 0 else _two_sided(mean, error, degrees))


def _mean_square(table: np.ndarray) -> tuple[float, float]:
    """MS_seeds + MS_batches - MS_residual and its degrees of freedom, by Satterthwaite's approximation."""
    seeds, batches = table.shape
    mean, by_seed, by_batch = table.mean(), table.mean(1), table.mean(0)
    residual = table - by_seed[:, None] - by_batch + mean
    parts = np.array(
        [
            batches * ((by_seed - mean) ** 2).sum() / (seeds - 1),
            seeds * ((by_batch - mean) ** 2).sum() / (batches - 1),
            (residual**2).sum() / ((seeds - 1) * (batches - 1)),
        ]
    )
    freedom = np.array([seeds - 1, batches - 1, (seeds - 1) * (batches - 1)])
    square = parts[0] + parts[1] - parts[2]
    larger = int(parts[1] > parts[0])
    if square <= parts[larger]:
        # The residual may by chance exceed the smaller part, and even make the sum negative: the larger counts alone.
        return parts[larger], float(freedom[larger])
    # Because a part is subtracted, the approximation may fall below the freedom of the seeds alone.
    return square, max(square**2 / (parts**2 / freedom).sum(), seeds - 1)


def _two_sided(mean: float, error: float, degrees: float) -> float:
    return float(2 * stdtr(degrees, -abs(mean / error)))


def holm(values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, adjusted so that one false finding among all stays as rare as in one test.

    Holm 1979, "A simple sequentially rejective multiple test procedure". In the order given; each in [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(values)
    largest = 0.0  # so far: an adjusted value is never below that of a smaller p-value
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted
