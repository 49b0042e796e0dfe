"""Optimality against the areas under drawn curves, and what it must be by definition."""

import numpy as np
import pytest

from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.statistics.attack_optimality import optimality

PSNR, GMSD = facts_of("psnr"), facts_of("gmsd")


def area(values: np.ndarray, thresholds: np.ndarray) -> float:
    """Area under the share of values above each threshold."""
    return float((values > thresholds[:, None]).mean(1).sum() * (thresholds[1] - thresholds[0]))


def images(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def test_it_is_the_ratio_of_the_areas_under_the_recovery_curves():
    random = np.random.default_rng(0)
    uneven, steady = random.normal(15, 4, 60), random.normal(16, 2, 60)
    best = np.maximum(uneven, steady)
    thresholds = np.linspace(best.min(), best.max(), 50_001)
    expected = [area(values, thresholds) / area(best, thresholds) for values in (uneven, steady)]
    assert optimality([images(uneven), images(steady)], PSNR) == pytest.approx(expected, abs=1e-3)


def test_the_best_on_every_image_is_1_and_the_rest_lower():
    better, worse = {"a": 30.0, "b": 20.0}, {"a": 25.0, "b": 20.0}
    assert optimality([better, worse], PSNR) == [1.0, 0.5]


def test_lower_is_better_where_the_metric_says_so():
    assert optimality([{"a": 0.1, "b": 0.3}, {"a": 0.2, "b": 0.3}], GMSD) == pytest.approx([1.0, 0.5])


def test_it_depends_on_who_takes_part():
    attack = {"a": 20.0, "b": 10.0}
    assert optimality([attack, attack], PSNR) == [1.0, 1.0]
    assert optimality([attack, {"a": 30.0, "b": 10.0}], PSNR) == [0.5, 1.0]


@pytest.mark.parametrize("attacks", [[{"a": 1.0}, {"b": 1.0}], [{"a": 1.0}, {"a": 2.0}], [{}, {}]])
def test_without_an_area_there_is_none(attacks):
    assert optimality(attacks, PSNR) is None
