"""Recovery curves against a plain loop; the figure shows the table's numbers."""

import math
import random

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from gradinv.metrics.figures.recovery import BEST, draw_recovery
from gradinv.metrics.figures.recovery_curves import STATED, curves_of, envelope, recovery, share_better
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.records.samples import samples_of
from gradinv.metrics.statistics.intervals import interval


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
    every = [values_of(seed, 10 + seed) for seed in range(3)]
    low, high = envelope([recovery(values, facts) for values in every], facts)
    thresholds = np.linspace(-0.1, 1.1, 61)
    shares = [[share_by_loop(values, threshold, facts.direction) for values in every] for threshold in thresholds]
    assert low.at(thresholds, facts).tolist() == pytest.approx([min(found) for found in shares], abs=1e-12)
    assert high.at(thresholds, facts).tolist() == pytest.approx([max(found) for found in shares], abs=1e-12)


@pytest.mark.parametrize("values", [[], [1.0, math.inf], [math.nan]])
def test_values_that_allow_no_curve(values):
    with pytest.raises(ValueError, match="finite values, and one at least"):
        recovery(values, facts_of("psnr"))


def test_single_images_are_independent_trials():
    values = {(batch, "a"): 31.0 if batch < 3 else 10.0 for batch in range(8)}
    found = share_better(values, 30.0, facts_of("psnr"))
    exact = (beta.ppf(0.025, 3, 6), beta.ppf(0.975, 4, 5))
    assert (found.mean, found.n) == (3 / 8, 8)
    assert (found.low, found.high) == pytest.approx(exact)


def test_of_larger_batches_the_batch_is_the_unit():
    shares = [0.0, 0.5, 0.5, 1.0, 0.5]
    values = {(b, str(i)): 25.0 if i < 2 * share else 5.0 for b, share in enumerate(shares) for i in range(2)}
    found, expected = share_better(values, 20.0, facts_of("psnr")), interval(shares)
    assert (found.mean, found.n) == (0.5, 5)
    assert (found.low, found.high) == (max(0, expected.low), min(1, expected.high))


@pytest.mark.parametrize(("value", "bounds"), [(5.0, (0.0, 0.3694)), (25.0, (0.6306, 1.0))])
def test_batches_that_are_all_alike_still_have_an_interval(value, bounds):
    found = share_better({(batch, str(i)): value for batch in range(8) for i in range(4)}, 20.0, facts_of("psnr"))
    assert found.mean == bounds[value > 20]
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-4)


def test_an_image_at_the_threshold_is_not_better():
    assert share_better({(0, "a"): 20.0}, 20.0, facts_of("psnr")).mean == 0


def test_the_figure_has_its_numbers_beside_it(records, tmp_path):
    paths = draw_recovery(records, tmp_path)
    stem = "recovery-lenet_dlg-untrained-photos-16px-B2"
    assert [path.name for path in paths] == [f"{stem}.png", f"{stem}.pdf", f"{stem}.csv"]
    table = pd.read_csv(paths[-1])
    dlg = samples_of(records, "")[0]
    curve = table[(table["key"] == "dlg") & (table["metric"] == "psnr") & (table["kind"] == "curve")]
    assert curve["threshold"].tolist() == sorted({20.0, 21.0, 22.0, 24.0})
    assert curve["share"].tolist() == pytest.approx(curves_of([dlg], "psnr")["dlg"].shares.tolist())
    stated = table[(table["key"] == "dlg") & (table["metric"] == "psnr") & (table["kind"] == "stated")]
    assert stated["threshold"].tolist() == list(STATED["psnr"])
    assert stated["share"].tolist() == pytest.approx([5 / 6, 0])
    assert (stated["low"] <= stated["share"]).all()
    best = table[(table["key"] == BEST) & (table["metric"] == "psnr")]
    assert best["threshold"].max() == 12.0, "no control reaches the attack"


def test_the_same_records_give_the_same_bytes(records, tmp_path):
    first, second = (draw_recovery(order, tmp_path / n) for order, n in ((records, "a"), (records[::-1], "b")))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_every_setting_has_its_own_figure_and_exact_images_do_not_stretch_it(make_record, tmp_path):
    exact = [make_record("dlg", r, (math.inf, 18.0), defense="pruning[share=0.9]") for r in range(3)]
    plain = [make_record("dlg", r, (15.0, 18.0)) for r in range(3)]
    names = {path.name for path in draw_recovery([*exact, *plain], tmp_path) if path.suffix == ".png"}
    assert names == {
        "recovery-lenet_dlg-untrained-photos-16px-B2.png",
        "recovery-lenet_dlg-untrained-photos-16px-pruning_share=0.9-B2.png",
    }


def test_nothing_scored_draws_nothing(make_record, tmp_path):
    assert draw_recovery([make_record("dlg", 0, state="failed")], tmp_path) == []
    assert draw_recovery([make_record("mean_image", 0, (9.0, 9.0), is_control=True)], tmp_path) == []
