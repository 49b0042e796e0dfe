"""The figure of quality is drawn for every setting, shows the leaderboard's numbers, and comes out the same."""

import pandas as pd
import pytest

from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.figures import quality
from gradinv.metrics.figures.skeleton import save_all, scenes
from gradinv.metrics.records.settings import BATCH_SIZE_FIELDS


@pytest.fixture
def two_sizes(records, make_record):
    """The records of one setting at batch sizes 2 and 4."""
    larger = [make_record("dlg", r, (15.0,) * 4, batch_size=4, order=50 + r) for r in range(3)]
    return [*records, *larger]


def figure_of(records):
    """The figure of the one setting of the records."""
    (scene,) = scenes(records, lambda trial: trial.is_scored, BATCH_SIZE_FIELDS)
    return quality._figure(scene, quality._panels(scene))


def test_each_setting_has_its_figure_as_png_and_pdf_with_its_table(tmp_path, two_sizes, make_record):
    defended = make_record("dlg", 0, (9.0,), defense="gaussian_noise[sigma=0.01]", order=99)
    paths = save_all(quality.quality_drawings([*two_sizes, defended]), tmp_path)
    stems = {"lenet_dlg-untrained-photos-16px", "lenet_dlg-untrained-photos-16px-gaussian_noise_sigma=0.01"}
    assert {path.name for path in paths} == {f"quality-{stem}.{end}" for stem in stems for end in ("png", "pdf", "csv")}
    assert all(path.stat().st_size > (100 if path.suffix == ".csv" else 2000) for path in paths)


def test_the_same_records_give_the_same_bytes(tmp_path, records):
    first, second = (
        save_all(quality.quality_drawings(order), tmp_path / name)
        for name, order in {"a": records, "b": records[::-1]}.items()
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_dots_stand_at_the_leaderboards_means_and_the_band_spans_the_controls(records):
    axis = figure_of(records).axes[0]
    board = leaderboard(records)
    drawn = [float(container.lines[0].get_xdata()[0]) for container in axis.containers]
    assert drawn == pytest.approx(
        board[(board["is_control"] == "false") & (board["n_batches"] > 0)]["psnr_mean"].tolist()
    )
    controls = board[board["is_control"] == "true"]["psnr_mean"]
    band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((controls.min(), controls.max()))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["dlg", "idlg"]


def test_batch_sizes_are_lines_with_the_number_of_batches_in_the_title(two_sizes, make_record):
    figure = figure_of(two_sizes)
    line = figure.axes[0].containers[0].lines[0]
    assert list(line.get_ydata()) == [22.5, 15.0]
    assert "3 batches at each batch size" in figure.get_suptitle()
    figure = figure_of([*two_sizes, make_record("dlg", 3, (15.0,) * 4, batch_size=4, order=60)])
    assert "3 batches at batch size 2; 4 batches at batch size 4" in figure.get_suptitle()


def test_nothing_scored_draws_nothing(tmp_path, make_record):
    assert save_all(quality.quality_drawings([make_record("dlg", 0, state="failed", curve=[])]), tmp_path) == []


def test_the_table_beside_a_figure_holds_the_leaderboards_means(tmp_path, records):
    table = pd.read_csv(save_all(quality.quality_drawings(records), tmp_path)[-1])
    board = leaderboard(records).query("n_batches > 0")
    assert table[table["metric"] == "psnr"]["mean"].tolist() == pytest.approx(board["psnr_mean"].tolist())
    assert set(table["metric"]) == {"psnr", "ssim"}


def test_label_accuracy_has_a_panel_where_an_attack_inferred_labels(make_record):
    for accuracy in (0.5, 1.0):
        changes = {"label_method": "inferred:sum", "metrics": {"label_accuracy": accuracy}}
        figure = figure_of([make_record("idlg", r, (11.0, 12.0), **changes) for r in range(3)])
        assert [axis.get_xlabel().partition(",")[0] for axis in figure.axes] == ["PSNR (dB)", "SSIM", "label accuracy"]
        assert list(figure.axes[2].containers[0].lines[0].get_xdata()) == [accuracy]


def test_given_labels_have_no_panel(make_record):
    given = [make_record("idlg", r, (11.0, 12.0), label_method="given") for r in range(3)]
    assert len(figure_of(given).axes) == 2
