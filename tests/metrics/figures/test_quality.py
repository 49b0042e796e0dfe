"""Figures are drawn for every setting, show the numbers of the leaderboard, and come out the same each time."""

import numpy as np
import pandas as pd
import pytest
from gradinv.metrics.boards.leaderboard import leaderboard
from gradinv.metrics.figures import quality as plots
from gradinv.metrics.records.reading import trials_by_cell


@pytest.fixture
def two_sizes(records, make_record):
    """The records of one setting at batch sizes 2 and 4."""
    larger = [make_record("dlg", r, (15.0,) * 4, batch_size=4, order=50 + r) for r in range(3)]
    return [*records, *larger]


def test_each_setting_has_its_figures_as_png_and_pdf(tmp_path, two_sizes, make_record):
    defended = make_record("dlg", 0, (9.0,), defense="gaussian_noise[sigma=0.01]", order=99)
    paths = plots.draw_figures([*two_sizes, defended], tmp_path)
    stems = {"lenet_dlg-untrained-photos-16px", "lenet_dlg-untrained-photos-16px-gaussian_noise_sigma=0.01"}
    names = {f"{kind}-{stem}.{end}" for kind in ("quality", "objective") for stem in stems for end in ("png", "pdf")}
    names |= {f"{kind}-{stem}.csv" for kind in ("quality", "objective") for stem in stems}
    assert {path.name for path in paths} == names
    assert all(path.stat().st_size > (100 if path.suffix == ".csv" else 2000) for path in paths)


def test_the_same_records_give_the_same_bytes(tmp_path, records):
    first, second = (
        plots.draw_figures(order, tmp_path / name) for order, name in ((records, "a"), (records[::-1], "b"))
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def figure_of(records, draw):
    """The figure that `draw(attacks, trials)` makes of the scored trials."""
    trials = {cell: runs for cell, runs in trials_by_cell(records).items() if runs[0].is_scored}
    return draw([cell.key for cell in trials if not cell.is_control], trials), trials


def test_dots_stand_at_the_leaderboards_means_and_the_band_spans_the_controls(records):
    setting = plots.by_setting([records[0].cell])[0][0]
    figure, _ = figure_of(records, lambda attacks, trials: plots._quality(setting, "title", attacks, trials))
    axis = figure.axes[0]
    board = leaderboard(records)
    shown = [float(container.lines[0].get_xdata()[0]) for container in axis.containers]
    assert shown == pytest.approx(
        board[(board["is_control"] == "false") & (board["n_batches"] > 0)]["psnr_mean"].tolist()
    )
    controls = board[board["is_control"] == "true"]["psnr_mean"]
    band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((controls.min(), controls.max()))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["dlg", "idlg"]


def test_batch_sizes_are_lines_with_the_number_of_batches_in_the_title(two_sizes):
    setting = plots.by_setting([two_sizes[0].cell])[0][0]
    figure, _ = figure_of(two_sizes, lambda attacks, trials: plots._quality(setting, "t", ["dlg", "idlg"], trials))
    line = figure.axes[0].containers[0].lines[0]
    assert list(line.get_ydata()) == [22.5, 15.0]
    assert "3 batches at batch size 2; 3 batches at batch size 4" in figure.get_suptitle()


def test_curves_are_medians_and_stopped_ones_keep_their_last_value(make_record):
    curves = [[(0, 4.0), (10, 2.0)], [(0, 8.0), (5, 6.0)], [(0, 6.0), (10, 1.0)]]
    records = [make_record("dlg", r, (9.0,), curve=curve) for r, curve in enumerate(curves)]
    figure, _ = figure_of(records, lambda attacks, trials: plots._objectives("title", attacks, 0, trials))
    axis = figure.axes[0]
    median = axis.lines[-1]
    assert axis.get_yscale() == "log"
    np.testing.assert_allclose(median.get_xdata(), [0, 5, 10])
    np.testing.assert_allclose(median.get_ydata(), [6.0, 3.5, 2.0])


def test_many_attacks_take_several_figures(tmp_path, make_record):
    records = [make_record("dlg", 0, (9.0,), preset=f"p{index}", order=index) for index in range(7)]
    names = [path.name for path in plots.draw_figures(records, tmp_path)]
    assert "objective-lenet_dlg-untrained-photos-16px-2.png" in names


def test_nothing_scored_draws_nothing(tmp_path, make_record):
    assert plots.draw_figures([make_record("dlg", 0, state="failed", curve=[])], tmp_path) == []


def test_the_table_beside_a_figure_holds_the_leaderboards_means(tmp_path, records):
    paths = plots.draw_figures(records, tmp_path)
    tables = {path.name.partition("-")[0]: pd.read_csv(path) for path in paths if path.suffix == ".csv"}
    curve = tables["objective"].query("key == 'dlg' and batch == 1")
    assert list(zip(curve["evaluations"], curve["objective"], strict=True)) == records[1].curve
    table = tables["quality"]
    board = leaderboard(records).query("n_batches > 0")
    shown = table[table["metric"] == "psnr"]["mean"].tolist()
    assert shown == pytest.approx(board["psnr_mean"].tolist())
    assert set(table["metric"]) == {"psnr", "ssim"}


def test_label_accuracy_has_a_panel_where_an_attack_inferred_labels(make_record):
    inferred = [make_record("idlg", r, (11.0, 12.0), label_method="inferred:sum", label_accuracy=0.5) for r in range(3)]
    setting = plots.by_setting([inferred[0].cell])[0][0]
    figure, _ = figure_of(inferred, lambda attacks, trials: plots._quality(setting, "t", attacks, trials))
    assert len(figure.axes) == 3
    assert figure.axes[2].get_xlabel() == "labels recovered, share"
    assert list(figure.axes[2].containers[0].lines[0].get_xdata()) == [0.5]
