"""Comparisons: pairing by image, the outcome in every direction, and the errors they make, by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gradinv.metrics.comparison.compare import FEWEST, Comparison, adjusted, compare
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.statistics.intervals import interval

PSNR = facts_of("psnr")
REPETITIONS = 2000
DRAWS: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda random, shape: random.normal(0, 1, shape),
    "skewed": lambda random, shape: random.exponential(1, shape) - 1,
}


def values(sample) -> dict[tuple[int, str], float]:
    """One image a batch."""
    return {(batch, "a"): float(value) for batch, value in enumerate(sample)}


def compared(attack, baseline, metric="psnr") -> Comparison:
    """One metric alone, so that its p-value needs no adjustment."""
    comparison = compare([values(attack)], [values(baseline)], metric=metric, facts=facts_of(metric))
    assert comparison is not None
    return adjusted([comparison])[0]


@pytest.mark.parametrize("n", [8, 16, 29])
def test_it_is_students_paired_test_over_batches(n):
    random = np.random.default_rng(n)
    attack, baseline = random.normal(20, 2, n), random.normal(19, 2, n)
    oracle = stats.ttest_rel(attack, baseline)
    comparison = compared(attack, baseline)
    assert comparison.p == comparison.adjusted == pytest.approx(oracle.pvalue)
    assert (comparison.low, comparison.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    assert (comparison.attack_mean, comparison.baseline_mean, comparison.n, comparison.images) == (
        pytest.approx(attack.mean()),
        pytest.approx(baseline.mean()),
        n,
        n,
    )
    assert comparison.won == np.mean(attack > baseline)


def test_images_are_paired_and_what_only_one_side_has_is_left_out():
    attack = {(0, "a"): 10.0, (0, "b"): 99.0, (1, "c"): 20.0, (2, "d"): 50.0}
    baseline = {(0, "a"): 8.0, (0, "x"): 0.0, (1, "c"): 17.0, (3, "d"): 1.0}
    comparison = compare([attack], [baseline], metric="psnr", facts=PSNR)
    assert comparison is not None
    assert (comparison.n, comparison.images, comparison.gain) == (2, 2, 2.5)


def test_a_batch_counts_once_however_many_images_it_has():
    attack = {(0, "a"): 1.0, (0, "b"): 3.0, (1, "c"): 8.0}
    comparison = compare([attack], [dict.fromkeys(attack, 0.0)], metric="psnr", facts=PSNR)
    assert comparison is not None
    assert (comparison.gain, comparison.n, comparison.images) == (5.0, 2, 3)


def test_without_a_common_image_there_is_nothing():
    assert compare([{(0, "a"): 1.0}], [{(0, "b"): 1.0}], metric="psnr", facts=PSNR) is None
    assert compare([{}], [{}], metric="psnr", facts=PSNR) is None


def test_only_batches_of_every_seed_count():
    attack = [values([5.0] * 9), values([7.0] * 8)]
    baseline = [values([4.0] * 9), values([4.0] * 9)]
    comparison = compare(attack, baseline, metric="psnr", facts=PSNR)
    assert comparison is not None
    assert (comparison.n, comparison.gain, comparison.images) == (8, 2.0, 17)


def test_for_a_distance_lower_is_better():
    random = np.random.default_rng(0)
    baseline = random.normal(0.3, 0.01, 12)
    comparison = compared(baseline - random.normal(0.1, 0.01, 12), baseline, "gmsd")
    assert comparison.gain == pytest.approx(0.1, abs=0.01)
    assert (comparison.outcome, comparison.won) == ("better", 1.0)


@pytest.mark.parametrize(("shift", "outcome"), [(2.0, "better"), (-2.0, "worse"), (0.0, "not distinguishable")])
def test_outcomes(shift, outcome):
    random = np.random.default_rng(1)
    assert compared(random.normal(shift, 1, 16), random.normal(0, 1, 16)).outcome == outcome


def test_there_is_no_outcome_below_eight_batches():
    random = np.random.default_rng(2)
    assert compared(random.normal(9, 1, FEWEST - 1), random.normal(0, 1, FEWEST - 1)).outcome == "no verdict"
    single = compared([9.0], [1.0])
    assert (single.outcome, single.gain) == ("no verdict", 8.0)
    assert math.isnan(single.low)
    assert math.isnan(single.p)


def test_equal_values_are_equal_and_no_test():
    draws = np.random.default_rng(3).normal(size=12)
    comparison = compare([values(draws)], [values(draws)], metric="psnr", facts=PSNR)
    assert comparison is not None
    assert (comparison.outcome, comparison.won) == ("equal", 0.5)
    better = compare([values(draws + 1)], [values(draws)], metric="psnr", facts=PSNR)
    assert better is not None
    assert adjusted([comparison, better])[1].adjusted == better.p, "an equal metric costs the others nothing"


def test_more_metrics_ask_for_more_evidence():
    random = np.random.default_rng(15)
    comparison = compared(random.normal(0.75, 1, 12), np.zeros(12))
    assert 0.01 < comparison.p < 0.05
    assert comparison.outcome == "better"
    assert {member.outcome for member in adjusted([comparison] * 6)} == {"not distinguishable"}


@pytest.mark.parametrize(
    ("kind", "n", "least"),
    [("normal", 8, 0.93), ("normal", 16, 0.93), ("normal", 64, 0.93), ("skewed", 16, 0.90), ("skewed", 64, 0.90)],
)
def test_intervals_cover_what_they_say(kind, n, least):
    samples = DRAWS[kind](np.random.default_rng([n, 2026]), (REPETITIONS, n))
    intervals = [interval(sample) for sample in samples]
    assert np.mean([estimate.low <= 0 <= estimate.high for estimate in intervals]) >= least


@pytest.mark.parametrize("n", [8, 16, 64])
@pytest.mark.parametrize("kind", DRAWS)
def test_attacks_that_are_alike_are_rarely_told_apart(kind, n):
    random = np.random.default_rng([n, 5])
    batches = DRAWS[kind](random, (REPETITIONS, n))  # how hard a batch is, for both
    attack, baseline = (batches + DRAWS[kind](random, (REPETITIONS, n)) for _ in range(2))
    outcomes = [compared(*pair).outcome for pair in zip(attack, baseline, strict=True)]
    assert np.mean([outcome != "not distinguishable" for outcome in outcomes]) <= 0.065
