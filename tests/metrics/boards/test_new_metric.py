"""What a new metric needs: the one function that registers it, and no other file."""

import pytest
import torch

from gradinv.metrics.boards.image_table import read_board
from gradinv.metrics.boards.leaderboard_table import leaderboard, write_board
from gradinv.metrics.boards.schema import schema_page
from gradinv.metrics.comparison.contrasts import Contrast, contrasted
from gradinv.metrics.comparison.findings import findings_of
from gradinv.metrics.figures import quality
from gradinv.metrics.figures.skeleton import save_all
from gradinv.metrics.images.facts import board_metrics
from gradinv.metrics.images.scoring import METRICS, register_metric, score_images
from gradinv.metrics.records.samples import samples_of
from gradinv.metrics.report.pages import heading


@pytest.fixture(autouse=True)
def worst_pixel(monkeypatch):
    """A metric of every board, as a plug-in registers it."""
    monkeypatch.setitem(METRICS._entries, "worst_pixel", None)  # taken out again afterwards

    @register_metric(
        "worst_pixel",
        title="Worst pixel",
        meaning="largest difference of two pixels",
        direction="lower",
        unit="levels",
        low=0.0,
        high=255.0,
        board_column=55,
        panel=True,
    )
    def worst_pixel(reconstructions, originals):
        return 255 * (reconstructions - originals).abs().amax((1, 2, 3))


@pytest.fixture
def measured(make_record):
    """Two attacks over eight batches, with the metric measured: `dlg` is the better one."""

    def with_metric(record, value):
        images = [
            image.model_copy(update={"metrics": image.metrics | {"worst_pixel": value + image.slot}})
            for image in record.images
        ]
        return record.model_copy(update={"images": images})

    return [
        with_metric(make_record(attack, r, (psnr + r % 3, psnr), order=order), value + r % 3)
        for order, (attack, psnr, value) in enumerate((("dlg", 20.0, 10.0), ("idlg", 12.0, 30.0)))
        for r in range(8)
    ]


def test_it_is_measured_by_default():
    assert board_metrics("image").index("worst_pixel") == board_metrics("image").index("fft2d") - 1


def test_it_has_its_columns_on_the_board(measured):
    frame = leaderboard(measured)
    columns = list(frame.columns)
    place = columns.index("gmsd_high") + 1
    assert columns[place : place + 3] == ["worst_pixel_mean", "worst_pixel_low", "worst_pixel_high"]
    assert columns[place + 3] == "fft2d_mean"
    assert frame["worst_pixel_mean"].tolist() == pytest.approx([11.375, 31.375])


def test_the_schema_page_says_what_they_mean():
    page = schema_page({})
    assert (
        "| `worst_pixel_mean` | largest difference of two pixels: mean over batches | levels | 0 to 255 | lower |"
        in page
    )
    assert "| `worst_pixel` | largest difference of two pixels | levels | 0 to 255 | lower |" in page


def test_a_published_table_is_read_back_with_it(measured, tmp_path):
    write_board(measured, tmp_path / "board.csv")
    images = tmp_path / "board.images.csv"
    samples, faults = read_board(images)
    assert faults == []
    assert samples[0].means("worst_pixel")[0] == 10.5
    images.write_text(images.read_text(encoding="utf-8").replace(",10.0,", ",300.0,", 1), encoding="utf-8")
    assert "worst_pixel is 300, outside 0 to 255" in read_board(images)[1][0]


def test_it_has_a_panel_and_a_heading(measured, tmp_path):
    table = next(path for path in save_all(quality.quality_drawings(measured), tmp_path) if path.suffix == ".csv")
    assert "worst_pixel" in table.read_text(encoding="utf-8")
    shown = heading("worst_pixel")
    assert (shown.title, shown.unit, shown.arrow, shown.words) == ("Worst pixel", "levels", "↓", "lower is better")


def test_attacks_are_compared_by_it(measured):
    samples = samples_of(measured, "records")
    findings, _ = findings_of(samples, "dlg", ["idlg"], any_budget=False)
    outcomes = {one.metric: (one.outcome, one.gain) for one in findings[0].comparisons}
    assert outcomes["worst_pixel"] == ("better", pytest.approx(20.0))
    (contrast,) = contrasted(samples, [Contrast("what it adds", "dlg", "idlg")])
    assert contrast.on("worst_pixel").gain == pytest.approx(20.0)


def test_the_function_itself_is_what_is_called():
    black, grey = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.5)
    assert score_images(black, grey, board_metrics("image")).values["worst_pixel"].tolist() == [127.5, 127.5]
