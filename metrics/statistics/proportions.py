"""The exact interval of a share of successes."""

from collections.abc import Sequence

from scipy.special import betaincinv

from gradinv.metrics.statistics.intervals import Interval, interval


def proportion(successes: int, n: int) -> Interval:
    """Share of successes among `n` independent trials with its exact 95 % interval (Clopper and Pearson 1934).

    >>> always = proportion(10, 10)
    >>> always.mean, round(always.low, 4), always.high
    (1.0, 0.6915, 1.0)
    """
    # Quantiles of the beta distribution, as `scipy.stats.binomtest` has them too, whose import costs a second.
    low = betaincinv(successes, n - successes + 1, 0.025) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 0.975) if successes < n else 1.0
    return Interval(successes / n, float(low), float(high), n)


def interval_of_shares(shares: Sequence[float]) -> Interval:
    """Mean of the batches' shares with a 95 % interval inside [0, 1].

    Where every batch is all or nothing, a batch is one trial and the interval is exact (`proportion`); a spread of
    zero would otherwise say that nothing else can happen. Else that of a mean (`interval`).

    >>> always = interval_of_shares([1.0] * 10)
    >>> always.mean, round(always.low, 4), always.high
    (1.0, 0.6915, 1.0)
    """
    if all(share in (0.0, 1.0) for share in shares):
        return proportion(int(sum(shares)), len(shares))
    result = interval(shares)
    return Interval(result.mean, max(result.low, 0.0), min(result.high, 1.0), result.n)
