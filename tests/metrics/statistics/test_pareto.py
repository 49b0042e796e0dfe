"""The Pareto front, against every pair by hand."""

import math

import numpy as np
import pytest

from gradinv.metrics.statistics import undominated


@pytest.mark.parametrize("worse", [(0.9, 0.5, 0.9), (1.0, 0.4, 0.9), (1.0, 0.5, 0.8), (0.3, 0.1, 0.2)])
def test_what_is_worse_in_one_and_better_in_nothing_is_beaten(worse):
    assert undominated({"better": (1.0, 0.5, 0.9), "worse": worse}) == ["better"]


@pytest.mark.parametrize("other", [(1.0, 0.5, 0.9), (2.0, 0.5, 0.8), (1.0, 0.4, 1.0), (1.0, 0.5, math.nan)])
def test_equals_what_is_better_in_something_and_what_nobody_measured_stay(other):
    assert undominated({"first": (1.0, 0.5, 0.9), "other": other}) == ["first", "other"]


def test_the_front_of_points_on_a_circle_is_its_upper_right_quarter():
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    points = {f"{angle:.3f}": (math.cos(angle), math.sin(angle)) for angle in angles}
    assert undominated(points) == [f"{angle:.3f}" for angle in angles if angle <= math.pi / 2 + 1e-9]
