"""The figure of terms: medians over batches as they were recorded, one look a term, and nothing without terms."""

import numpy as np
import pandas as pd

from gradinv.metrics.figures import terms
from gradinv.metrics.figures.presentation import look
from gradinv.metrics.figures.skeleton import save_all, scenes
from gradinv.metrics.records.settings import BATCH_SIZE_FIELDS

CURVE = [(1, 3.0), (10, 2.0)]


def of(make_record, attack, repetition, gradient, **changes):
    recorded = {"gradient": gradient, "bn": [1.0, 0.5], "group": [0.0, 0.1]}
    return make_record(attack, repetition, (9.0,), curve=CURVE, terms=recorded, **changes)


def test_lines_are_medians_over_batches_and_a_group_begins_late(make_record):
    records = [of(make_record, "gradinversion", r, [2.0 + r, 1.0 + r]) for r in range(3)]
    (scene,) = scenes(records, without=BATCH_SIZE_FIELDS)
    axis = terms._figure(scene, 0).axes[0]
    gradient, bn, group = axis.lines
    assert axis.get_yscale() == "log"
    np.testing.assert_allclose(gradient.get_ydata(), [3.0, 2.0])
    np.testing.assert_allclose(bn.get_ydata(), [1.0, 0.5])
    np.testing.assert_allclose(group.get_ydata(), [np.nan, 0.1])
    # As in every figure, though this one has no tv and no l2.
    assert [line.get_color() for line in axis.lines] == [look(index).color for index in (0, 3, 4)]


def test_the_table_beside_it_holds_the_recorded_terms_of_attacks_alone(tmp_path, make_record):
    control = of(make_record, "other_gradient", 0, [7.0, 7.0], preset="gradinversion", is_control=True)
    records = [of(make_record, "gradinversion", 0, [2.0, 1.0]), control, make_record("dlg", 0, (9.0,))]
    paths = save_all(terms.term_drawings(records), tmp_path)
    assert [path.suffix for path in paths] == [".png", ".pdf", ".csv"]
    table = pd.read_csv(paths[-1])
    assert table["key"].unique().tolist() == ["gradinversion"]
    gradient = table.query("term == 'gradient'")
    assert gradient[["evaluations", "value"]].to_numpy().tolist() == [[1, 2.0], [10, 1.0]]


def test_records_without_terms_and_controls_alone_draw_nothing(make_record, records):
    assert list(terms.term_drawings(records)) == []
    control = of(make_record, "other_gradient", 0, [7.0, 7.0], preset="gradinversion", is_control=True)
    assert list(terms.term_drawings([control])) == []
