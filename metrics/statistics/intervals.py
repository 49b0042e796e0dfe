"""Confidence intervals over batches, and whether an attack beats its controls."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

from gradinv.metrics.statistics.bootstrap import bca_interval

Batch = TypeVar("Batch", bound=Hashable)

BOOTSTRAP_FROM = 30
"""Batches from which on the interval is a bootstrap's: fewer do not show the shape of their distribution."""
_CONSTANT = 1e-12  # relative spread that is rounding: the bootstrap has nothing to resample there


@dataclass(frozen=True)
class Interval:
    """A mean over `n` batches and the confidence interval [`low`, `high`] around it."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Gain:
    """By how much an attack beats the strongest of its controls, with its interval over `n` paired batches.

    `p` is that of the one-sided test against the control that is hardest to beat; NaN below two batches.
    """

    control: str
    mean: float
    low: float
    high: float
    n: int
    works: bool
    p: float


def interval(values: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Mean of independent values and its confidence interval.

    Below 30 values Student's t, from 30 on the bias-corrected accelerated bootstrap with a fixed seed (Efron 1987,
    "Better bootstrap confidence intervals", Eq. 2.3). One value has no interval: `low` and `high` are NaN; no value
    has no mean either. ValueError for values that are not finite: cap them first.

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.484..., high=4.484..., n=3)
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(sample).all():
        raise ValueError(f"values must be finite, not {sample[~np.isfinite(sample)][0]}")
    n = sample.size
    if n < 2:
        return Interval(float(sample[0]) if n else np.nan, np.nan, np.nan, n)
    mean = float(sample.mean())
    if np.ptp(sample) <= _CONSTANT * np.abs(sample).max():
        return Interval(mean, mean, mean, n)
    low, high = bca_interval(sample, confidence) if n >= BOOTSTRAP_FROM else _student(sample, confidence)
    return Interval(mean, low, high, n)


def _student(sample: np.ndarray, confidence: float) -> tuple[float, float]:
    # `stdtrit` is what scipy.stats.t.ppf calls, and saves importing all of scipy.stats.
    half = stdtrit(sample.size - 1, (1 + confidence) / 2) * sample.std(ddof=1) / np.sqrt(sample.size)
    return float(sample.mean() - half), float(sample.mean() + half)


def gain_over_controls(
    attack: Mapping[Batch, float],
    controls: Mapping[str, Mapping[Batch, float]],
    *,
    higher_is_better: bool,
) -> Gain | None:
    """How much better than its controls an attack is, batch by batch; positive means better.

    `attack` and each control map a batch to its value, finite (ValueError otherwise). Each control is paired with the
    attack over the batches they share; a control that shares none is left out. The gain reported is that with the
    smallest lower bound (an unknown bound is the smallest; ties go to the smallest mean), so the attack works only if
    it beats every control. This is an intersection-union test (Berger 1982, "Multiparameter hypothesis testing and
    acceptance sampling"): its level is that of one comparison, so no correction for the number of controls is due.
    None where no control shares a batch.

    >>> gain = gain_over_controls({0: 20.0, 1: 21.0}, {"mean_image": {0: 10.0, 1: 11.0}}, higher_is_better=True)
    >>> gain.control, gain.mean, gain.works
    ('mean_image', 10.0, True)
    """
    sign = 1.0 if higher_is_better else -1.0
    gains: dict[str, Interval] = {}
    tests: list[float] = []
    for name, control in controls.items():
        differences = [sign * (value - control[batch]) for batch, value in attack.items() if batch in control]
        if differences:
            gains[name] = interval(differences)
            tests.append(one_sided(differences))
    if not gains:
        return None
    name = min(gains, key=lambda name: _strength(gains[name]))
    least = gains[name]
    return Gain(name, least.mean, least.low, least.high, least.n, works=least.low > 0, p=float(np.max(tests)))


def one_sided(differences: Sequence[float]) -> float:
    """p-value of Student's test that the mean of the differences is at most 0; NaN below two of them.

    >>> round(one_sided([1.0, 2.0, 3.0]), 4), one_sided([1.0])
    (0.0371, nan)
    """
    sample = np.asarray(differences, dtype=np.float64)
    if sample.size < 2:
        return math.nan
    mean, deviation = sample.mean(), sample.std(ddof=1)
    if np.ptp(sample) <= _CONSTANT * np.abs(sample).max():
        return float(mean <= 0)  # the statistic would be x / 0
    return float(stdtr(sample.size - 1, -mean / (deviation / np.sqrt(sample.size))))


def _strength(gain: Interval) -> tuple[float, float]:
    # NaN, the bound of a single batch, compares as neither smaller nor larger: `min` would pick by position.
    return (-np.inf if np.isnan(gain.low) else gain.low, gain.mean)
