"""Charts place their numbers where they belong, in per cent, and stay finite."""

import math

import pytest

from gradinv.metrics.report.charts import axis_of, objective_chart


def points(curve):
    """The (x, y) of a curve."""
    return [tuple(map(float, pair.split(","))) for pair in curve.points.split()]


def test_an_axis_holds_all_values_with_a_margin():
    axis = axis_of([10.0, math.nan, 20.0, math.inf])
    assert axis.low < 10.0 < 20.0 < axis.high
    assert axis.position(15.0) == 50.0
    span = axis.span(15.0, 10.0, 20.0)
    assert (span.middle, span.left + span.width / 2) == (50.0, pytest.approx(50.0))


def test_one_value_alone_stands_in_the_middle_without_a_width():
    span = axis_of([3.0, math.nan]).span(3.0, math.nan, math.nan)
    assert (span.left, span.width, span.middle) == (50.0, 0.0, 50.0)
    assert axis_of([math.nan]) is None


def test_the_objective_falls_from_top_left_to_bottom_right(make_record):
    trials = [make_record("dlg", r, (9.0,), curve=[(0, 100.0 * (r + 1)), (10, 1.0)]) for r in range(2)]
    blind = [make_record("other_gradient", 0, (9.0,), curve=[(0, 10.0), (5, 10.0)])]
    chart = objective_chart(trials, [("other_gradient", blind), ("noise_gradient", [])])
    assert [curve.kind for curve in chart.curves] == ["batch", "batch", "other_gradient", "attack"]
    assert (chart.low, chart.high, chart.last, chart.is_log) == (1.0, 200.0, 10, True)
    assert points(chart.curves[1]) == [(0.0, 0.0), (100.0, 100.0)]
    assert points(chart.curves[2])[-1][0] == 50.0
    ((_, top), (_, bottom)) = points(chart.curves[3])
    assert top == pytest.approx(100 * (1 - math.log(150) / math.log(200)), abs=0.01)
    assert bottom == 100.0


def test_zero_negative_and_infinite_objectives_are_drawn_linearly(make_record):
    trials = [make_record("dlg", 0, (9.0,), curve=[(0, math.inf), (5, 1.0), (10, -1.0)])]
    chart = objective_chart(trials, [])
    assert not chart.is_log
    assert points(chart.curves[0]) == [(50.0, 0.0), (100.0, 100.0)]
    flat = objective_chart([make_record("dlg", 0, (9.0,), curve=[(0, 2.0)])], [])
    assert points(flat.curves[0]) == [(0.0, 100.0)]


def test_no_curve_makes_no_chart(make_record):
    assert objective_chart([make_record("dlg", 0, (9.0,), curve=[])], []) is None
    assert objective_chart([make_record("dlg", 0, (9.0,), curve=[(0, math.inf)])], []) is None
