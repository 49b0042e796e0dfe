"""Contact sheets show the first images in batch order, each attack above its best control, and hide nothing."""

import math

import numpy as np
import pytest
from matplotlib.image import imread
from safetensors.numpy import load_file

from gradinv.metrics.figures import Material, Presentation, figures_of, sheets
from gradinv.metrics.figures.skeleton import Scene, save_all
from gradinv.metrics.records.pictures import Pictures
from gradinv.metrics.records.reading import trials_by_cell
from gradinv.metrics.records.settings import setting_of


@pytest.fixture
def sheet(tmp_path, records, write_run):
    """The sheet of `records`, as a matplotlib figure."""
    trials = trials_by_cell(records)
    attacks = [cell for cell, runs in trials.items() if not cell.is_control and runs[0].is_scored]
    return draw(attacks, trials, write_run(tmp_path, records))


def draw(attacks, trials, directory):
    """The sheet of the first images."""
    scene = Scene(setting_of(attacks[0]), trials, "name", "heading")
    return sheets._sheet(scene, attacks, sheets._first(attacks, trials), Pictures([directory]))


def words(figure):
    """All texts on the page, in drawing order."""
    return [text.get_text() for text in figure.axes[0].texts]


def test_rows_are_named_in_words_and_stand_above_their_best_control(sheet):
    labels = [text for text in words(sheet) if text in ("original", "dlg", "idlg") or "best control" in text]
    assert [label.replace("\n ", "").strip() for label in labels] == [
        "original", "dlg", "best control: mean_image", "idlg", "best control: mean_image",
    ]  # fmt: skip


def test_the_heading_says_that_images_are_not_chosen_and_the_footer_what_is_missing(sheet):
    assert "First 6 images in batch order, not chosen." in words(sheet)[0]
    assert words(sheet)[-1] == "idlg.bn: skipped: idlg.bn needs batch-norm statistics, none are granted"


def test_values_stand_under_the_pictures_and_diverged_ones_are_marked(sheet):
    assert "PSNR 20.0" in words(sheet)
    assert "PSNR 12.0\ndiverged" in words(sheet)


def test_pictures_are_the_tensors_in_batch_order(tmp_path, records, sheet):
    images = sheet.axes[0].images
    assert len(images) == 5 * 6
    tensors = load_file(tmp_path / "trials" / records[1].id / "tensors.safetensors")
    np.testing.assert_array_equal(images[2 * 6 + 2 - 6].get_array(), tensors["reconstruction"][0].transpose(1, 2, 0))


def test_a_pixel_of_the_sheet_has_the_colour_of_the_tensor(tmp_path, make_record, write_run):
    record = make_record("dlg", 0, (math.inf,), batch_size=1)
    path, _ = save_all(sheets.sheet_drawings([record], [write_run(tmp_path, [record])]), tmp_path / "figures")
    assert path.name == "images-lenet_dlg-untrained-photos-16px-B1.png"
    colours = {tuple(pixel) for pixel in (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)}
    pixels = load_file(tmp_path / "trials" / record.id / "tensors.safetensors")["original"][0].reshape(3, -1).T
    assert {tuple(pixel) for pixel in pixels.astype(int)} <= colours


def test_missing_or_broken_tensors_leave_an_empty_place(tmp_path, records, write_run):
    directory = write_run(tmp_path, records)
    (directory / "trials" / records[0].id / "tensors.safetensors").write_bytes(b"broken")
    (directory / "trials" / records[1].id / "tensors.safetensors").unlink()
    trials = trials_by_cell(records)
    figure = draw([records[0].cell], trials, directory)
    assert words(figure).count("no picture\non disk") == 4


def test_a_failed_trial_says_so_in_its_place(tmp_path, make_record, write_run):
    records = [make_record("dlg", 0, (9.0,)), make_record("idlg", 0, state="failed"), make_record("idlg", 1, (9.0,))]
    trials = trials_by_cell(records)
    figure = draw([r.cell for r in records[1:]][:1], trials, write_run(tmp_path, records))
    assert "First 1 images" in words(figure)[0]
    figure = draw([records[0].cell, records[1].cell], trials, tmp_path)
    assert "failed" in words(figure)
    assert "not run" in words(figure)


def test_many_attacks_take_several_sheets(tmp_path, make_record, write_run):
    records = [make_record("dlg", 0, (9.0,), preset=f"p{index}", order=index) for index in range(11)]
    paths = save_all(sheets.sheet_drawings(records, [write_run(tmp_path, records)]), tmp_path / "figures")
    assert [path.stem.partition("16px-")[2] for path in paths] == ["B2", "B2", "B2-2", "B2-2"]


@pytest.fixture
def grid_records(make_record):
    """Three attacks with long keys, nine images each, one in a batch."""
    return [
        make_record("inverting_gradients", r, (10.0 + r,), preset=f"p{n}", order=n, batch_size=1)
        for n in range(3)
        for r in range(9)
    ]


@pytest.mark.parametrize(("width", "shown", "quantiles"), [(3.35, 4, "0%, 33%, 67%, 100%"), (1.2, 1, "50%")])
def test_a_narrow_sheet_shows_fewer_images_in_words_that_can_be_read_and_says_so(
    tmp_path, grid_records, write_run, width, shown, quantiles
):
    material = Material(grid_records, (), [write_run(tmp_path, grid_records)])
    images, grid = figures_of(material, "images", Presentation(width=width)).values()
    assert f"First {shown} of 8 images in batch order, not chosen." in " ".join(words(images)[0].split())
    assert quantiles in " ".join(words(grid)[0].split())
    for figure in (images, grid):
        page = figure.axes[0]
        assert figure.get_figwidth() == width
        assert len(page.images) == (1 + 3) * shown
        assert min(text.get_fontsize() for text in page.texts) >= 6


def test_words_and_pictures_of_a_narrow_sheet_do_not_lie_over_each_other(tmp_path, grid_records, write_run):
    material = Material(grid_records, (), [write_run(tmp_path, grid_records)])
    for figure in figures_of(material, "images", Presentation(width=3.35)).values():
        figure.draw_without_rendering()
        page = figure.axes[0]
        boxes = [item.get_window_extent() for item in (*page.texts, *page.images) if getattr(item, "get_text", str)()]
        for index, box in enumerate(boxes):
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            overlaps = [other for other in boxes[index + 1 :] if box.x0 < other.x1 and other.x0 < box.x1
                        and box.y0 < other.y1 and other.y0 < box.y1]  # fmt: skip
            assert not overlaps


def test_a_narrow_sheet_is_no_longer_than_a_page(tmp_path, make_record, write_run):
    records = [make_record("dlg", 0, (9.0,), preset=f"p{index}", order=index) for index in range(11)]
    material = Material(records, (), [write_run(tmp_path, records)])
    figures = figures_of(material, "images", Presentation(width=3.35))
    assert len(figures) > 1
    assert sum(len(figure.axes[0].images) for figure in figures.values()) == 11 + len(figures)
    assert max(figure.get_figheight() for figure in figures.values()) <= 9.5


def test_where_there_are_more_images_a_grid_shows_those_at_fixed_quantiles(tmp_path, make_record, write_run):
    psnr = [12.0, 15.0, 11.0, 19.0, 17.0, 13.0, 18.0, 14.0, 16.0]  # from worst to best: batches 2 0 5 7 1 8 4 6 3
    records = [make_record("dlg", r, (value,), batch_size=1) for r, value in enumerate(psnr)]
    paths = save_all(sheets.sheet_drawings(records, [write_run(tmp_path, records)]), tmp_path / "figures")
    assert [path.name.partition("-")[0] + path.suffix for path in paths] == [
        "images.png", "images.pdf", "grid.png", "grid.pdf",
    ]  # fmt: skip
    trials = trials_by_cell(records)
    choice = sheets._at_quantiles(records[0].cell, trials)
    assert list(choice.images) == [(2, 0), (5, 0), (1, 0), (4, 0), (3, 0)]
    assert choice.words == "The images at these quantiles of the PSNR of dlg: 0%, 25%, 50%, 75%, 100%."


def test_runs_share_a_sheet_and_each_lends_its_own_pictures(tmp_path, make_record, write_run):
    attacks = [make_record(name, 0, (9.0,), order=order) for order, name in enumerate(("dlg", "idlg"))]
    runs = [write_run(tmp_path / record.cell.attack, [record]) for record in attacks]
    trials = trials_by_cell(attacks)
    pictures = Pictures(runs)
    scene = Scene(setting_of(attacks[0].cell), trials, "name", "heading")
    figure = sheets._sheet(scene, list(trials), sheets._first(list(trials), trials), pictures)
    assert len(figure.axes[0].images) == 3  # one original, two reconstructions
    for record, image in zip(attacks, figure.axes[0].images[1:], strict=True):
        (run,) = [run for run in runs if (run / "trials" / record.id).is_dir()]
        tensors = load_file(run / "trials" / record.id / "tensors.safetensors")
        np.testing.assert_array_equal(image.get_array(), tensors["reconstruction"][0].transpose(1, 2, 0))
