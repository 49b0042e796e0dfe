"""Numbers are printed alike everywhere: never a negative zero, never a bound that reads as 0 and is not."""

import math

import pytest

from gradinv.metrics.typesetting import amount, counted, first_to_last, fixed, percent, signed, with_interval


@pytest.mark.parametrize("value", [-0.0, -0.04, 0.0, 0.04])
def test_nothing_is_printed_as_a_negative_zero(value):
    assert fixed(value, 1) == "0.0"
    assert with_interval(value, -0.0, 0.01, 1) == "0.0 [0.0, 0.0]"


def test_what_is_not_measured_is_empty():
    assert (fixed(math.nan, 1), percent(math.nan), with_interval(math.nan, math.nan, math.nan, 1)) == ("", "", "")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.81, 1.64, "1.2 dB [0.8, 1.6]"),
        (0.04, 1.64, "1.20 dB [0.04, 1.64]"),
        (-0.003, 1.64, "1.200 dB [-0.003, 1.640]"),
        (0.0, 1.64, "1.2 dB [0.0, 1.6]"),
        (1e-12, 1.64, "1.200000000 dB [0.000000000, 1.640000000]"),
        (math.nan, math.nan, "1.2 dB"),
    ],
)
def test_a_bound_is_printed_as_0_only_where_it_is(low, high, text):
    assert amount("psnr", 1.2, low, high) == text


def test_a_metric_of_an_unknown_plugin_has_three_digits_and_no_unit():
    assert amount("of_nobody", 1.2, 0.8, 1.6) == "1.200 [0.800, 1.600]"


def test_signs_counts_and_ranges_in_words():
    assert signed("-1.5 [-2.0, 1.0]") == "\N{MINUS SIGN}1.5 [\N{MINUS SIGN}2.0, 1.0]"
    assert [counted(n, "batch") for n in (0, 1, 2)] == ["0 batches", "1 batch", "2 batches"]
    assert (first_to_last([4, 2, 8], "-"), first_to_last(["b", "b"])) == ("2-8", "b")
