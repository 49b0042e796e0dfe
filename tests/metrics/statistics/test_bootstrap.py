"""The bootstrap against SciPy's, which resamples with the same seed."""

import numpy as np
import pytest
from scipy import stats

from gradinv.metrics.statistics import bootstrap
from gradinv.metrics.statistics.bootstrap import RESAMPLES, bca_interval, resampled_means


@pytest.mark.parametrize("n", [30, 64, 401, 700])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_it_is_scipys_interval(n, draw):
    sample = getattr(np.random.default_rng(n), draw)(size=n)
    oracle = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        method="BCa",
        batch=2**22 // n,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    assert bca_interval(sample, 0.95) == pytest.approx((oracle.low, oracle.high), rel=1e-12)


def test_large_samples_are_resampled_like_small_ones(monkeypatch):
    sample = np.random.default_rng(0).normal(size=50)
    kept = resampled_means(sample)
    monkeypatch.setattr(bootstrap, "_KEPT", 0)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 50 * 1000)
    assert (resampled_means(sample) == kept).all()


def test_every_call_gives_the_same_bits():
    sample = np.random.default_rng(1).exponential(size=40)
    assert bca_interval(sample, 0.95) == bca_interval(sample.copy(), 0.95)
