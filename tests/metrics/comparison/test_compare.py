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


def compared(ours, theirs, metric="psnr") -> Comparison:
    """One metric alone, so that its p-value needs no adjustment."""
    found = compare([values(ours)], [values(theirs)], metric=metric, facts=facts_of(metric))
    assert found is not None
    return adjusted([found])[0]


@pytest.mark.parametrize("n", [8, 16, 29])
def test_it_is_students_paired_test_over_batches(n):
    random = np.random.default_rng(n)
    ours, theirs = random.normal(20, 2, n), random.normal(19, 2, n)
    oracle = stats.ttest_rel(ours, theirs)
    found = compared(ours, theirs)
    assert found.p == found.adjusted == pytest.approx(oracle.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    assert (found.ours, found.theirs, found.n, found.images) == (
        pytest.approx(ours.mean()),
        pytest.approx(theirs.mean()),
        n,
        n,
    )
    assert found.won == np.mean(ours > theirs)


def test_images_are_paired_and_what_only_one_side_has_is_left_out():
    ours = {(0, "a"): 10.0, (0, "b"): 99.0, (1, "c"): 20.0, (2, "d"): 50.0}
    theirs = {(0, "a"): 8.0, (0, "x"): 0.0, (1, "c"): 17.0, (3, "d"): 1.0}
    found = compare([ours], [theirs], metric="psnr", facts=PSNR)
    assert found is not None
    assert (found.n, found.images, found.gain) == (2, 2, 2.5)


def test_a_batch_counts_once_however_many_images_it_has():
    ours = {(0, "a"): 1.0, (0, "b"): 3.0, (1, "c"): 8.0}
    found = compare([ours], [dict.fromkeys(ours, 0.0)], metric="psnr", facts=PSNR)
    assert found is not None
    assert (found.gain, found.n, found.images) == (5.0, 2, 3)


def test_without_a_common_image_there_is_nothing():
    assert compare([{(0, "a"): 1.0}], [{(0, "b"): 1.0}], metric="psnr", facts=PSNR) is None
    assert compare([{}], [{}], metric="psnr", facts=PSNR) is None


def test_only_batches_of_every_seed_count():
    ours = [values([5.0] * 9), values([7.0] * 8)]
    theirs = [values([4.0] * 9), values([4.0] * 9)]
    found = compare(ours, theirs, metric="psnr", facts=PSNR)
    assert found is not None
    assert (found.n, found.gain, found.images) == (8, 2.0, 17)


def test_for_a_distance_lower_is_better():
    random = np.random.default_rng(0)
    theirs = random.normal(0.3, 0.01, 12)
    found = compared(theirs - random.normal(0.1, 0.01, 12), theirs, "gmsd")
    assert found.gain == pytest.approx(0.1, abs=0.01)
    assert (found.outcome, found.won) == ("better", 1.0)


@pytest.mark.parametrize(("shift", "outcome"), [(2.0, "better"), (-2.0, "worse"), (0.0, "not distinguishable")])
def test_outcomes(shift, outcome):
    random = np.random.default_rng(1)
    assert compared(random.normal(shift, 1, 16), random.normal(0, 1, 16)).outcome == outcome


def test_there_is_no_outcome_below_eight_batches():
    random = np.random.default_rng(2)
    assert compared(random.normal(9, 1, FEWEST - 1), random.normal(0, 1, FEWEST - 1)).outcome == "no verdict"
    one = compared([9.0], [1.0])
    assert (one.outcome, one.gain) == ("no verdict", 8.0)
    assert math.isnan(one.low)
    assert math.isnan(one.p)


def test_equal_values_are_equal_and_no_test():
    same = np.random.default_rng(3).normal(size=12)
    found = compare([values(same)], [values(same)], metric="psnr", facts=PSNR)
    assert found is not None
    assert (found.outcome, found.won) == ("equal", 0.5)
    other = compare([values(same + 1)], [values(same)], metric="psnr", facts=PSNR)
    assert other is not None
    assert [one.adjusted for one in adjusted([found, other])][1] == other.p, "an equal metric costs the others nothing"


def test_more_metrics_ask_for_more_evidence():
    random = np.random.default_rng(15)
    found = compared(random.normal(0.75, 1, 12), np.zeros(12))
    assert 0.01 < found.p < 0.05
    assert found.outcome == "better"
    assert {one.outcome for one in adjusted([found] * 6)} == {"not distinguishable"}


@pytest.mark.parametrize(
    ("kind", "n", "least"),
    [("normal", 8, 0.93), ("normal", 16, 0.93), ("normal", 64, 0.93), ("skewed", 16, 0.90), ("skewed", 64, 0.90)],
)
def test_intervals_cover_what_they_say(kind, n, least):
    samples = DRAWS[kind](np.random.default_rng([n, 2026]), (REPETITIONS, n))
    found = [interval(sample) for sample in samples]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= least


@pytest.mark.parametrize("n", [8, 16, 64])
@pytest.mark.parametrize("kind", DRAWS)
def test_attacks_that_are_alike_are_rarely_told_apart(kind, n):
    random = np.random.default_rng([n, 5])
    batches = DRAWS[kind](random, (REPETITIONS, n))  # how hard a batch is, for both
    ours, theirs = (batches + DRAWS[kind](random, (REPETITIONS, n)) for _ in range(2))
    outcomes = [compared(*pair).outcome for pair in zip(ours, theirs, strict=True)]
    assert np.mean([outcome != "not distinguishable" for outcome in outcomes]) <= 0.065
