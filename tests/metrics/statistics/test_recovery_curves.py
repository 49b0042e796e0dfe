"""Recovery curves against a plain loop, and the intervals of shares against SciPy."""

import math
import random

import numpy as np
import pytest
from scipy.stats import beta

from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.statistics.intervals import interval
from gradinv.metrics.statistics.recovery_curves import envelope, recovery, share_better


def values_of(seed: int, count: int = 40) -> list[float]:
    """Values on a grid, so that ties occur."""
    draw = random.Random(seed)
    return [draw.randrange(0, 20) / 20 for _ in range(count)]


def share_by_loop(values: list[float], threshold: float, direction: str) -> float:
    """How many are better, counted one by one."""
    better = 0
    for value in values:
        if (direction == "higher" and value > threshold) or (direction == "lower" and value < threshold):
            better += 1
    return better / len(values)


@pytest.mark.parametrize("metric", ["ssim", "gmsd"])
def test_a_curve_is_a_count_at_every_threshold(metric):
    facts, values = facts_of(metric), values_of(1)
    curve = recovery(values, facts)
    thresholds = np.array([-1.0, *np.linspace(-0.1, 1.1, 49), *values, 2.0])
    expected = [share_by_loop(values, threshold, facts.direction) for threshold in thresholds]
    assert curve.at(thresholds, facts).tolist() == pytest.approx(expected, abs=1e-12)
    assert (np.diff(curve.shares) < 0).all()
    assert curve.shares[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", ["ssim", "gmsd"])
def test_the_envelope_is_the_best_and_the_worst_curve_at_every_threshold(metric):
    facts = facts_of(metric)
    samples = [values_of(seed, 10 + seed) for seed in range(3)]
    low, high = envelope([recovery(values, facts) for values in samples], facts)
    thresholds = np.linspace(-0.1, 1.1, 61)
    shares = [[share_by_loop(values, threshold, facts.direction) for values in samples] for threshold in thresholds]
    assert low.at(thresholds, facts).tolist() == pytest.approx(
        [min(at_threshold) for at_threshold in shares], abs=1e-12
    )
    assert high.at(thresholds, facts).tolist() == pytest.approx(
        [max(at_threshold) for at_threshold in shares], abs=1e-12
    )


@pytest.mark.parametrize("values", [[], [1.0, math.inf], [math.nan]])
def test_values_that_allow_no_curve(values):
    with pytest.raises(ValueError, match="finite values, and one at least"):
        recovery(values, facts_of("psnr"))


def test_single_images_are_independent_trials():
    values = {(batch, "a"): 31.0 if batch < 3 else 10.0 for batch in range(8)}
    share = share_better(values, 30.0, facts_of("psnr"))
    exact = (beta.ppf(0.025, 3, 6), beta.ppf(0.975, 4, 5))
    assert (share.mean, share.n) == (3 / 8, 8)
    assert (share.low, share.high) == pytest.approx(exact)


def test_of_larger_batches_the_batch_is_the_unit():
    shares = [0.0, 0.5, 0.5, 1.0, 0.5]
    values = {(b, str(i)): 25.0 if i < 2 * share else 5.0 for b, share in enumerate(shares) for i in range(2)}
    share, expected = share_better(values, 20.0, facts_of("psnr")), interval(shares)
    assert (share.mean, share.n) == (0.5, 5)
    assert (share.low, share.high) == (max(0, expected.low), min(1, expected.high))


@pytest.mark.parametrize(("value", "bounds"), [(5.0, (0.0, 0.3694)), (25.0, (0.6306, 1.0))])
def test_batches_that_are_all_alike_still_have_an_interval(value, bounds):
    share = share_better({(batch, str(i)): value for batch in range(8) for i in range(4)}, 20.0, facts_of("psnr"))
    assert share.mean == bounds[value > 20]
    assert (share.low, share.high) == pytest.approx(bounds, abs=1e-4)


def test_an_image_at_the_threshold_is_not_better():
    assert share_better({(0, "a"): 20.0}, 20.0, facts_of("psnr")).mean == 0
