"""The exact interval of a share, against the binomial distribution that defines it."""

import pytest
from scipy import stats

from gradinv.metrics.statistics.proportions import interval_of_shares, proportion


@pytest.mark.parametrize(("successes", "n"), [(3, 40), (39, 40), (500, 1_000)])
def test_the_exact_interval_of_a_share(successes, n):
    share = proportion(successes, n)
    assert share.mean == successes / n
    assert stats.binom.sf(successes - 1, n, share.low) == pytest.approx(0.025)
    assert stats.binom.cdf(successes, n, share.high) == pytest.approx(0.025)


@pytest.mark.parametrize("successes", [0, 1_000])
def test_a_share_of_none_or_all_still_has_an_interval(successes):
    share = proportion(successes, 1_000)
    assert share.high - share.low == pytest.approx(1 - 0.025 ** (1 / 1_000))
    assert share.mean in (share.low, share.high)


def test_batches_that_are_all_or_nothing_are_exact_trials_and_others_an_interval_inside_the_range():
    assert interval_of_shares([1.0, 0.0, 1.0]) == proportion(2, 3)
    mixed = interval_of_shares([1.0, 0.9, 1.0])
    assert mixed.mean == pytest.approx(2.9 / 3)
    assert mixed.high == 1.0
    assert 0 < mixed.low < mixed.mean
