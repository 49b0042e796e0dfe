"""The exact interval of a share of successes."""

from scipy import stats

from gradinv.metrics.statistics.intervals import Interval


def proportion(successes: int, n: int) -> Interval:
    """Share of successes among `n` independent trials with its exact 95 % interval (Clopper and Pearson 1934).

    >>> always = proportion(10, 10)
    >>> always.mean, round(always.low, 4), always.high
    (1.0, 0.6915, 1.0)
    """
    bounds = stats.binomtest(successes, n).proportion_ci(confidence_level=0.95, method="exact")
    return Interval(successes / n, float(bounds.low), float(bounds.high), n)
