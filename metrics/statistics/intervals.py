"""Confidence intervals over batches, and whether an attack beats its controls."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.special import betaincinv, ndtri, stdtr, stdtrit

from gradinv.metrics.images import facts_of
from gradinv.metrics.statistics.bootstrap import bca_interval

Batch = TypeVar("Batch", bound=Hashable)

BOOTSTRAP_FROM = 30
"""Batches from which on the interval is a bootstrap's: fewer do not show the shape of their distribution."""
_ROUNDING = 1e-6  # of values in single precision
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


def bounded_interval(
    values: Sequence[float] | np.ndarray, low: float, high: float, *, confidence: float = 0.95
) -> Interval:
    """Mean of independent values in [`low`, `high`], both finite, and an interval that never leaves that range.

    Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 24: the exact interval of a share (Clopper and Pearson 1934), of as
    many independent observations as the spread of the values is worth, corrected by Student's t. Far from both bounds
    it is the interval of `interval`; where every value is the same bound it is that of as many observations as values.
    ValueError for values that are not in the range.

    >>> bounded_interval([0.75, 1.0, 1.0, 1.0], 0, 1)
    Interval(mean=0.9375, low=0.448..., high=0.999..., n=4)
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size and not (low - _ROUNDING <= sample.min() and sample.max() <= high + _ROUNDING):
        raise ValueError(f"values must lie in [{low:g}, {high:g}], not {sample.min():g} to {sample.max():g}")
    n = sample.size
    if n < 2:
        return Interval(float(sample[0]) if n else np.nan, np.nan, np.nan, n)
    mean = float(sample.mean())
    share = min(max((mean - low) / (high - low), 0.0), 1.0)
    worth: float = n
    variance = sample.var(ddof=1) / n / (high - low) ** 2
    if variance > _CONSTANT**2:
        quantiles = -ndtri((1 - confidence) / 2) / stdtrit(n - 1, (1 + confidence) / 2)
        worth = share * (1 - share) / variance * quantiles**2
    elif 0 < share < 1:
        return Interval(mean, mean, mean, n)
    bounds = _clopper_pearson(worth * share, worth, confidence)
    below, above = (low + (high - low) * bound for bound in bounds)
    # Rounding may put a bound on the wrong side of the mean.
    return Interval(mean, min(below, mean), max(above, mean), n)


def _clopper_pearson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """The exact interval of a share; neither number need be whole."""
    tail = (1 - confidence) / 2
    below = 0.0 if successes <= 0 else float(betaincinv(successes, n - successes + 1, tail))
    above = 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return below, above


def metric_interval(metric: str, values: Sequence[float] | np.ndarray) -> Interval:
    """Mean over batches of a metric and its 95 % interval, which holds no value that the mean cannot have.

    `bounded_interval` where the metric has a smallest and a largest value. Where it has one of the two, or none,
    `interval`, cut off at what there is: as the true mean lies in the range, no interval that held it loses it.

    >>> metric_interval("psnr", [100.0, 100.0, 40.0]).high, metric_interval("ssim", [0.99, 0.9, 1.0]).high <= 1
    (100.0, True)
    """
    facts = facts_of(metric)
    low, high = (-math.inf, math.inf) if facts is None else (facts.low, min(facts.high, facts.cap))
    if math.isfinite(low) and facts is not None and math.isfinite(facts.high):
        return bounded_interval(values, low, high)
    whole = interval(values)
    return replace(whole, low=max(whole.low, low), high=min(whole.high, high)) if whole.n > 1 else whole


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
