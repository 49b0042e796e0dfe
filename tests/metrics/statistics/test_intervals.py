"""Intervals against SciPy's and hand-written ones; gains against controls."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from gradinv.metrics.statistics.bootstrap import RESAMPLES
from gradinv.metrics.statistics.intervals import (
    BOOTSTRAP_FROM,
    Interval,
    bounded_interval,
    gain_over_controls,
    interval,
    metric_interval,
)
from gradinv.metrics.statistics.proportions import proportion


def bca(sample: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """Efron 1987 for a mean, written out with NumPy."""
    draws = np.random.default_rng(seed).choice(sample, (RESAMPLES, sample.size)).mean(1)
    share = ((draws < sample.mean()).sum() + (draws <= sample.mean()).sum()) / (2 * RESAMPLES)
    bias = stats.norm.ppf(share)
    left_out = (sample.sum() - sample) / (sample.size - 1)
    spread = left_out.mean() - left_out
    acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(draws, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return low, high


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_few_values_get_students_interval(confidence: float) -> None:
    sample = np.random.default_rng(0).normal(3, 2, BOOTSTRAP_FROM - 1)
    oracle = stats.ttest_1samp(sample, 0).confidence_interval(confidence)
    got = interval(sample, confidence=confidence)
    assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high))
    assert got.mean == pytest.approx(sample.mean())
    assert got.n == BOOTSTRAP_FROM - 1


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_many_values_get_the_accelerated_bootstrap(confidence: float) -> None:
    sample = np.random.default_rng(1).exponential(1.0, 60)
    low, high = bca(sample, confidence, seed=5)
    got = interval(sample, confidence=confidence)
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.03 * sample.std())
    assert got.high - got.mean > got.mean - got.low, "the interval follows the skew"


def test_bootstrap_is_the_same_every_time() -> None:
    sample = np.random.default_rng(2).normal(size=40)
    assert interval(sample) == interval(sample)


@pytest.mark.parametrize("n", [2, BOOTSTRAP_FROM, 500])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_constant_data_has_an_interval_of_no_width(n: int, value: float) -> None:
    got = interval([value] * n)
    assert got == Interval(got.mean, got.mean, got.mean, n)
    assert got.mean == pytest.approx(value)


def test_nearly_constant_data_is_never_nan() -> None:
    sample = 1e6 + np.random.default_rng(3).normal(0, 1e-9, 40)
    got = interval(sample)
    assert got.low <= got.mean <= got.high


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    single, empty = interval([2.5]), interval([])
    assert (single.mean, single.n) == (2.5, 1)
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    assert empty.n == 0
    assert all(map(math.isnan, (empty.mean, empty.low, empty.high)))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=f"finite, not {bad}"):
        interval([1.0, bad])


def test_student_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    samples = rng.normal(size=(2000, 8))
    hits = sum(got.low <= 0 <= got.high for got in map(interval, samples))
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def values(mean: float, n: int = 10, seed: int = 0, spread: float = 0.5) -> dict[int, float]:
    return dict(enumerate(np.random.default_rng(seed).normal(mean, spread, n)))


def test_gain_is_the_paired_difference() -> None:
    attack, control = values(20), values(15, seed=1)
    oracle = stats.ttest_rel(list(attack.values()), list(control.values())).confidence_interval(0.95)
    got = gain_over_controls(attack, {"noise_gradient": control}, higher_is_better=True)
    assert got is not None
    assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high))
    assert (got.control, got.n, got.works) == ("noise_gradient", 10, True)


def test_an_attack_must_beat_every_control() -> None:
    controls = {"weak": values(10, seed=1), "strong": values(20, seed=2), "middling": values(15, seed=3)}
    got = gain_over_controls(values(20), controls, higher_is_better=True)
    assert got is not None
    assert (got.control, got.works) == ("strong", False)


def test_a_noisy_control_of_lower_mean_may_be_the_one_not_beaten() -> None:
    controls = {"steady": values(19, seed=1, spread=0.01), "noisy": values(17, seed=2, spread=8)}
    got = gain_over_controls(values(20), controls, higher_is_better=True)
    assert got is not None
    assert (got.control, got.works) == ("noisy", False)


def test_for_a_distance_lower_is_the_gain() -> None:
    got = gain_over_controls(values(0.1, spread=0.01), {"c": values(0.6, spread=0.01)}, higher_is_better=False)
    assert got is not None
    assert got.mean == pytest.approx(0.5)
    assert got.works


def test_only_common_batches_count() -> None:
    attack = {"a": 2.0, "b": 4.0, "c": 100.0}
    got = gain_over_controls(attack, {"x": {"a": 1.0, "b": 1.0, "d": 0.0}}, higher_is_better=True)
    assert got is not None
    assert (got.n, got.mean) == (2, 2.0)


def test_one_common_batch_never_works() -> None:
    controls = {"well measured": values(10, seed=1), "once": {0: 1.0}}
    got = gain_over_controls(values(20), controls, higher_is_better=True)
    assert got is not None
    assert (got.control, got.n, got.works) == ("once", 1, False)


def test_equal_lower_bounds_are_decided_by_the_mean() -> None:
    got = gain_over_controls({0: 5.0}, {"far": {0: 1.0}, "near": {0: 3.0}}, higher_is_better=True)
    assert got is not None
    assert got.control == "near"


def test_an_attack_equal_to_its_control_does_not_work() -> None:
    same = values(12)
    got = gain_over_controls(same, {"prior_only": same}, higher_is_better=True)
    assert got is not None
    assert (got.mean, got.low, got.works) == (0.0, 0.0, False)


@pytest.mark.parametrize("controls", [{}, {"c": {9: 1.0}}, {"c": {}}])
def test_without_a_shared_batch_there_is_no_gain(controls: dict[str, dict[int, float]]) -> None:
    assert gain_over_controls({0: 1.0}, controls, higher_is_better=True) is None


def _draws(distribution, n, repeats):
    """Samples (repeats, n) in [0, 1] and their true mean."""
    generator = np.random.default_rng(0)
    return {
        "labels of one image": (generator.binomial(1, 0.95, (repeats, n)) / 1, 0.95),
        "labels of eight images": (generator.binomial(8, 0.95, (repeats, n)) / 8, 0.95),
        "dependent labels": (generator.binomial(8, generator.beta(1.8, 0.2, (repeats, n))) / 8, 0.9),
        "uniform": (generator.random((repeats, n)), 0.5),
        "concentrated": (generator.beta(50, 450, (repeats, n)), 0.1),
        "near both ends": (generator.beta(0.3, 0.3, (repeats, n)), 0.5),
    }[distribution]


@pytest.mark.parametrize(
    "distribution",
    ["labels of one image", "labels of eight images", "dependent labels", "uniform", "concentrated", "near both ends"],
)
@pytest.mark.parametrize("n", [4, 8, 16])
def test_bounded_intervals_cover_the_mean_and_stay_in_the_range(distribution, n):
    repeats = 800
    samples, mean = _draws(distribution, n, repeats)
    found = [bounded_interval(sample, 0, 1) for sample in samples]
    assert all(0 <= one.low <= one.mean <= one.high <= 1 for one in found)
    covered = sum(one.low - 1e-12 <= mean <= one.high + 1e-12 for one in found)
    assert covered >= 0.92 * repeats  # of 20,000 draws the worst of these gave 0.937


def test_students_intervals_do_not_cover_what_the_bounded_ones_do():
    """The control: of eight single labels, 95 % right, two thirds of Student's intervals miss the truth."""
    samples, mean = _draws("labels of one image", 8, 400)
    covered = sum(one.low <= mean <= one.high for one in map(interval, samples))
    assert covered < 0.5 * 400


@given(
    values=st.lists(st.floats(-1, 1), min_size=2, max_size=40),
    scale=st.floats(0.1, 100),
    shift=st.floats(-100, 100),
)
def test_bounded_intervals_follow_their_scale(values, scale, shift):
    plain = bounded_interval(values, -1, 1)
    moved = bounded_interval([scale * value + shift for value in values], shift - scale, shift + scale)
    tolerance = 1e-4 * (abs(shift) + scale)
    if np.ptp(values) == 0 or np.ptp(values) > 1e-3:  # between the two, rounding decides what is constant
        assert (moved.low, moved.high) == pytest.approx(
            (scale * plain.low + shift, scale * plain.high + shift), abs=tolerance
        )


def test_far_from_its_bounds_a_bounded_interval_is_students():
    sample = np.random.default_rng(0).normal(0.5, 0.001, 12)
    plain, bounded = interval(sample), bounded_interval(sample, 0, 1)
    assert bounded.low == pytest.approx(plain.low, rel=1e-4)
    assert bounded.high == pytest.approx(plain.high, rel=1e-4)


def test_where_every_value_is_a_bound_it_is_the_exact_one_of_as_many_trials():
    expected = proportion(8, 8)
    assert bounded_interval([1.0] * 8, 0, 1).low == pytest.approx(expected.low)
    assert bounded_interval([-1.0] * 8, -1, 1).high == pytest.approx(1 - 2 * expected.low)
    assert bounded_interval([0.25] * 8, 0, 1).high == 0.25


def test_values_outside_the_range_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], not 0.5 to 1.5"):
        bounded_interval([0.5, 1.5], 0, 1)


def test_a_metrics_interval_holds_nothing_that_it_cannot_be():
    assert metric_interval("ssim", [1.0, 1.0, 0.2]).high <= 1
    assert metric_interval("label_accuracy", [0.0, 0.0, 1.0]).low >= 0
    assert metric_interval("psnr", [100.0, 100.0, 40.0]).high == 100
    assert metric_interval("lpips_alex", [0.0, 0.0, 3.0]).low == 0
    assert metric_interval("of no plug-in here", [0.0, 0.0, 3.0]) == interval([0.0, 0.0, 3.0])
    assert np.isnan(metric_interval("psnr", [20.0]).low)
