"""Paired tests against SciPy's, several victims against simulation, Holm's rule against its definition."""

import numpy as np
import pytest
from scipy import stats

from gradinv.metrics.statistics.intervals import interval
from gradinv.metrics.statistics.paired_tests import holm, paired


@pytest.mark.parametrize("n", [8, 16, 64])
def test_one_victim_gets_students_test_and_the_interval_of_its_batches(n):
    gains = np.random.default_rng(n).normal(0.5, 1, n)
    result = paired(gains[None])
    assert result.p == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)
    assert result.interval == interval(gains)


def test_two_victims_are_averaged():
    table = np.random.default_rng(0).normal(size=(2, 12))
    assert paired(table) == paired(table.mean(0)[None])


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_constant_difference_is_certain_and_none_is_none(seeds):
    assert paired(np.full((seeds, 8), 2.0)).p == 0
    assert paired(np.zeros((seeds, 8))).p == 1


def test_three_victims_of_no_common_spread_get_the_two_way_interval():
    table = np.random.default_rng(3).normal(size=(4, 10))
    table += np.random.default_rng(4).normal(size=(4, 1)) + np.random.default_rng(5).normal(size=10)
    mean = table.mean()
    seeds = 10 * table.mean(1).var(ddof=1)
    batches = 4 * table.mean(0).var(ddof=1)
    rest = ((table - table.mean(1, keepdims=True) - table.mean(0) + mean) ** 2).sum() / 27
    square = seeds + batches - rest
    degrees = square**2 / (seeds**2 / 3 + batches**2 / 9 + rest**2 / 27)
    assert square > max(seeds, batches)
    half = stats.t.ppf(0.975, max(degrees, 3)) * np.sqrt(square / 40)
    result = paired(table)
    assert (result.interval.low, result.interval.high) == pytest.approx((mean - half, mean + half))
    assert result.p == pytest.approx(2 * stats.t.sf(abs(mean) / np.sqrt(square / 40), max(degrees, 3)))


SPREADS = [(0.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.5, 1.0), (1.0, 1.0), (2.0, 0.5)]


@pytest.mark.parametrize(("seeds", "batches"), [(3, 16), (5, 8)])
@pytest.mark.parametrize(("by_seed", "by_batch"), SPREADS)
def test_several_victims_cover_whatever_varies(seeds, batches, by_seed, by_batch):
    random = np.random.default_rng([seeds, batches, int(10 * by_seed), int(10 * by_batch)])
    tables = random.normal(0, by_seed, (2000, seeds, 1)) + random.normal(0, by_batch, (2000, 1, batches))
    tables = tables + random.normal(size=(2000, seeds, batches))
    intervals = [paired(table).interval for table in tables]
    assert np.mean([bounds.low <= 0 <= bounds.high for bounds in intervals]) >= 0.925


def test_batches_alone_would_not_cover_other_victims():
    random = np.random.default_rng(9)
    tables = random.normal(0, 1, (500, 3, 1)) + random.normal(size=(500, 3, 16))
    alone = [interval(table.mean(0)) for table in tables]
    assert np.mean([bounds.low <= 0 <= bounds.high for bounds in alone]) < 0.7


def test_holm_is_bonferroni_for_the_smallest_and_never_falls():
    values = [0.04, 0.01, 0.03, 0.5]
    assert holm(values) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_keeps_the_family_at_its_level():
    values = np.random.default_rng(0).random((2000, 6))
    assert np.mean([min(holm(family)) <= 0.05 for family in values.tolist()]) <= 0.065
