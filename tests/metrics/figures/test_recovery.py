"""The figure of recovery curves shows the numbers of its table, and there is one a setting."""

import math

import pandas as pd
import pytest

from gradinv.metrics.figures.recovery import STATED, curves_of, recovery_drawings
from gradinv.metrics.figures.skeleton import save_all
from gradinv.metrics.figures.style import BEST_CONTROL
from gradinv.metrics.records.samples import samples_of


def test_the_figure_has_its_numbers_beside_it(records, tmp_path):
    paths = save_all(recovery_drawings(records), tmp_path)
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
    best = table[(table["key"] == BEST_CONTROL) & (table["metric"] == "psnr")]
    assert best["threshold"].max() == 12.0, "no control reaches the attack"


def test_the_same_records_give_the_same_bytes(records, tmp_path):
    first, second = (
        save_all(recovery_drawings(order), tmp_path / n) for n, order in {"a": records, "b": records[::-1]}.items()
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_every_setting_has_its_own_figure_and_exact_images_do_not_stretch_it(make_record, tmp_path):
    exact = [make_record("dlg", r, (math.inf, 18.0), defense="pruning[share=0.9]") for r in range(3)]
    plain = [make_record("dlg", r, (15.0, 18.0)) for r in range(3)]
    names = {path.name for path in save_all(recovery_drawings([*exact, *plain]), tmp_path) if path.suffix == ".png"}
    assert names == {
        "recovery-lenet_dlg-untrained-photos-16px-B2.png",
        "recovery-lenet_dlg-untrained-photos-16px-pruning_share=0.9-B2.png",
    }


def test_nothing_scored_draws_nothing(make_record, tmp_path):
    assert save_all(recovery_drawings([make_record("dlg", 0, state="failed")]), tmp_path) == []
    assert save_all(recovery_drawings([make_record("mean_image", 0, (9.0, 9.0), is_control=True)]), tmp_path) == []
