"""The figure of convergence: curves as they were recorded, medians over batches, several pages for many attacks."""

import numpy as np
import pandas as pd

from gradinv.metrics.figures import objective
from gradinv.metrics.figures.skeleton import save_all, scenes
from gradinv.metrics.records.settings import BATCH_SIZE_FIELDS


def test_curves_are_medians_and_stopped_ones_keep_their_last_value(make_record):
    curves = [[(0, 4.0), (10, 2.0)], [(0, 8.0), (5, 6.0)], [(0, 6.0), (10, 1.0)]]
    records = [make_record("dlg", r, (9.0,), curve=curve) for r, curve in enumerate(curves)]
    (scene,) = scenes(records, without=BATCH_SIZE_FIELDS)
    axis = objective._figure(scene, 0).axes[0]
    median = axis.lines[-1]
    assert axis.get_yscale() == "log"
    np.testing.assert_allclose(median.get_xdata(), [0, 5, 10])
    np.testing.assert_allclose(median.get_ydata(), [6.0, 3.5, 2.0])


def test_many_attacks_take_several_figures_beside_one_table(tmp_path, make_record):
    records = [make_record("dlg", 0, (9.0,), preset=f"p{index}", order=index) for index in range(7)]
    stem = "objective-lenet_dlg-untrained-photos-16px"
    names = [path.name for path in save_all(objective.objective_drawings(records), tmp_path)]
    assert names == [f"{stem}.png", f"{stem}.pdf", f"{stem}.csv", f"{stem}-2.png", f"{stem}-2.pdf"]
    assert pd.read_csv(tmp_path / f"{stem}.csv")["key"].nunique() == 7


def test_the_same_records_give_the_same_bytes(tmp_path, records):
    first, second = (
        save_all(objective.objective_drawings(order), tmp_path / name)
        for name, order in {"a": records, "b": records[::-1]}.items()
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_table_beside_it_holds_the_recorded_curves(tmp_path, records):
    (path,) = [path for path in save_all(objective.objective_drawings(records), tmp_path) if path.suffix == ".csv"]
    curve = pd.read_csv(path).query("key == 'dlg' and batch == 1")
    assert list(zip(curve["evaluations"], curve["objective"], strict=True)) == records[1].curve


def test_nothing_scored_draws_nothing(tmp_path, make_record):
    assert save_all(objective.objective_drawings([make_record("dlg", 0, state="failed", curve=[])]), tmp_path) == []
