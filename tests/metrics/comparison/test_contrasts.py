"""Contrasts and agreement: what they pair, against which oracle, and the figures that they draw."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradinv.metrics.comparison.agreement import agreement_table, agreements, spearman
from gradinv.metrics.comparison.contrasts import Contrast, contrast_table, contrasted
from gradinv.metrics.figures.ablation import ablation_drawings
from gradinv.metrics.figures.skeleton import save_all
from gradinv.metrics.records.record import Record
from gradinv.metrics.records.samples import samples_of

BETTER = Contrast("with the term", "new", "old")
BATCHES = 9


@pytest.fixture
def ablated(make_record: Callable[..., Record]) -> list[Record]:
    """`new` is 1 to 2 dB better than `old`, batch by batch; both have two images a batch, the images trade slots."""
    rng = np.random.default_rng(3)
    records = []
    for repetition in range(BATCHES):
        base = rng.uniform(10, 20, 2)
        gain = rng.uniform(1, 2, 2)
        records.append(make_record("old", repetition, base))
        records.append(make_record("new", repetition, base + gain))
        records.append(make_record("prior_only", repetition, base - 3, preset="new", is_control=True))
        records.append(make_record("old", repetition, base, bn_statistics="exact"))
    return records


def psnr_of(records: list[Record], attack: str) -> np.ndarray:
    """Mean PSNR of each batch of the attack in the first setting."""
    chosen = [r for r in records if r.cell.attack == attack and r.cell.bn_statistics == "none"]
    return np.array([np.mean([image.metrics["psnr"] for image in record.images]) for record in chosen])


def test_a_contrast_is_the_paired_difference_with_students_interval(ablated: list[Record]) -> None:
    table = contrast_table(contrasted(samples_of(ablated, ""), [BETTER]))
    row = table[table["metric"] == "psnr"].iloc[0]
    gains = psnr_of(ablated, "new") - psnr_of(ablated, "old")
    expected = stats.ttest_1samp(gains, 0)
    low, high = expected.confidence_interval(0.95)
    assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx((gains.mean(), low, high))
    assert row["p"] == pytest.approx(expected.pvalue)
    assert (row["n_batches"], row["n_images"], row["outcome"]) == (BATCHES, 2 * BATCHES, "better")


def test_the_blind_gain_is_that_of_the_controls(make_record: Callable[..., Record], ablated: list[Record]) -> None:
    fed_another = [
        make_record("other_gradient", r, (9.0 + r * gain, 9.0), preset=key, is_control=True)
        for key, gain in (("new", 1.0), ("old", 0.5))
        for r in range(BATCHES)
    ]
    table = contrast_table(contrasted(samples_of([*ablated, *fed_another], ""), [BETTER])).query("metric == 'psnr'")
    expected = stats.ttest_1samp([r * 0.25 for r in range(BATCHES)], 0)
    low, high = expected.confidence_interval(0.95)
    assert table["blind_gain"].item() == pytest.approx(np.mean([r * 0.25 for r in range(BATCHES)]))
    assert (table["blind_gain_low"].item(), table["blind_gain_high"].item()) == pytest.approx((low, high))
    alone = contrast_table(contrasted(samples_of(ablated, ""), [BETTER]))
    assert alone["blind_gain"].isna().all()


def test_only_settings_that_have_both_keys_are_contrasted(ablated: list[Record]) -> None:
    results = contrasted(samples_of(ablated, ""), [BETTER, Contrast("missing", "new", "nothing")])
    settings = [(result.contrast.name, result.attack.cell.bn_statistics) for result in results]
    assert settings == [("with the term", "none")]


def test_p_values_are_corrected_over_all_contrasts_of_a_setting(ablated: list[Record]) -> None:
    alone = contrast_table(contrasted(samples_of(ablated, ""), [BETTER]))
    reversed_too = contrast_table(contrasted(samples_of(ablated, ""), [BETTER, Contrast("reversed", "old", "new")]))
    assert (reversed_too["p_adjusted"].dropna() >= reversed_too["p"].dropna()).all()
    smallest = [table["p_adjusted"].min() for table in (alone, reversed_too)]
    assert smallest[1] == pytest.approx(2 * smallest[0])


def test_spearman_is_scipys() -> None:
    rng = np.random.default_rng(0)
    pairs = np.round(rng.normal(size=(40, 2)) + rng.normal(size=(40, 1)), 1)  # rounded, so that there are ties
    assert spearman(pairs) == pytest.approx(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    assert np.isnan(spearman(np.array([[1.0, 2.0], [1.0, 3.0]])))


def with_spread(record: Record, spread: list[float]) -> Record:
    """The record, as if of an attack with agents that are this far apart."""
    images = [
        image.model_copy(update={"details": {"agent_spread": value, "consensus_psnr": 12.0}})
        for image, value in zip(record.images, spread, strict=True)
    ]
    return record.model_copy(update={"images": images, "consensus_psnr": 12.0})


def test_agreement_correlates_spread_with_error_not_with_psnr(make_record: Callable[..., Record]) -> None:
    records = [
        with_spread(make_record("group", r, (30.0 - r, 20.0 - r)), [0.1 + r / 100, 0.2 + r / 100]) for r in range(4)
    ]
    (agreement,) = agreements([*records, make_record("alone", 0, (9.0, 9.0))])
    assert (agreement.rho, agreement.low, agreement.high) == pytest.approx((1.0, 1.0, 1.0))
    assert agreement.n_batches == 4
    assert agreement.error[0] == pytest.approx(1e-3)
    row = agreement_table([agreement]).iloc[0]
    assert (row["key"], row["n_images"], row["spearman_spread_error"]) == ("group", 8, 1.0)


def test_without_relation_the_interval_holds_zero(make_record: Callable[..., Record]) -> None:
    rng = np.random.default_rng(1)
    records = [
        with_spread(make_record("group", r, rng.uniform(10, 30, 2)), list(rng.uniform(0, 1, 2))) for r in range(30)
    ]
    (agreement,) = agreements(records)
    assert agreement.low < 0 < agreement.high


def test_the_figures_come_with_the_tables_they_were_drawn_from(ablated: list[Record], tmp_path) -> None:
    group = [with_spread(make, [0.1, 0.2]) for make in ablated if make.cell.attack == "new"]
    records = [record for record in ablated if record.cell.attack != "new"] + group
    names = {path.name for path in save_all(ablation_drawings(records, [BETTER]), tmp_path)}
    kinds = ("png", "pdf", "csv")
    assert names == {f"{stem}.{kind}" for stem in ("ablation-1", "agreement") for kind in kinds}
    assert pd.read_csv(tmp_path / "ablation-1.csv")["contrast"].tolist() == ["with the term"] * 4
    reordered = tmp_path / "again"
    reordered.mkdir()
    save_all(ablation_drawings(records[::-1], [BETTER]), reordered)
    assert all((tmp_path / name).read_bytes() == (reordered / name).read_bytes() for name in names)


def test_without_contrasts_and_agents_nothing_is_drawn(ablated: list[Record], tmp_path) -> None:
    assert save_all(ablation_drawings(ablated, []), tmp_path) == []
    assert not list(tmp_path.iterdir())
