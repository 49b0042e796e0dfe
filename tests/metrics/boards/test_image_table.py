"""Boards come back as they were written; what was edited by hand gets its line and costs nothing else."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gradinv.metrics.boards.columns import image_columns
from gradinv.metrics.boards.image_table import read_board
from gradinv.metrics.boards.leaderboard_table import write_board
from gradinv.metrics.boards.rows import BoardError
from gradinv.metrics.records.samples import samples_of

PUBLISHED = Path(__file__).parents[3] / "leaderboards"


@pytest.fixture
def rows(make_record):
    """Two attacks and a control over three batches of two images; an exact image, a failed trial, a diverged one."""
    dlg = [make_record("dlg", r, (20.0 + r, math.inf if r else 24.0), order=r) for r in range(3)]
    idlg = [make_record("idlg", r, (11.0, 12.0 + r), order=9, state="diverged" if r else "done") for r in range(3)]
    failed = [make_record("idlg", 3, order=9, state="failed", reason="no")]
    return [*dlg, *idlg, *failed, make_record("mean_image", 0, (9.0, 9.0), is_control=True, order=20)]


@pytest.fixture
def images(tmp_path, rows) -> Path:
    """The image table of `rows`, its board beside it."""
    write_board(rows, tmp_path / "leaderboard.csv")
    return tmp_path / "leaderboard.images.csv"


@pytest.fixture
def edit(images) -> Callable[..., Path]:
    """`edit(line, column, value)` changes one field; a line of None is taken out."""

    def change(line: int, column: str, value: str) -> Path:
        lines = images.read_text(encoding="utf-8").splitlines()
        names = lines[0].split(",")
        fields = lines[line - 1].split(",")
        fields[names.index(column)] = value
        lines[line - 1] = ",".join(fields)
        images.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return images

    return change


def test_a_board_is_its_records(images, rows):
    samples, faults = read_board(images)
    expected = {sample.cell: sample for sample in samples_of(rows, "runs")}
    assert faults == []
    assert set(expected) == {sample.cell for sample in samples}
    for sample in samples:
        original = expected[sample.cell]
        assert {name: original.values[name] for name in original.values if name != "label_accuracy"} == sample.values
        spent = (original.evaluations, original.seconds, original.n_failed, original.n_diverged)
        assert spent == (sample.evaluations, sample.seconds, sample.n_failed, sample.n_diverged)


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.images.csv")), ids=lambda path: path.name)
def test_published_boards_have_no_fault(path):
    samples, faults = read_board(path)
    assert faults == []
    assert samples


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("psnr", "-3", "dlg: psnr is -3, outside 0 to inf; batch 0 of it is left out"),
        ("ssim", "1.5", "dlg: ssim is 1.5, outside -1 to 1; batch 0 of it is left out"),
        ("gmsd", "high", "gmsd is 'high', not a number; the line is left out"),
        ("slot", "1", "dlg: slot 1 of batch 0 stands in line"),
        ("slot", "7", "slot is 7, the batch has 2 images"),
        ("slot", "-1", "slot is '-1', not a count from 0"),
        ("batch", "1.5", "batch is '1.5', not a count from 0"),
        ("batch_size", "0", "batch_size is '0', not a count from 1"),
        ("is_control", "no", "is_control is 'no', not true or false"),
        ("state", "failed", "state is 'failed', not done or diverged"),
        ("labels", "", "labels is empty"),
        ("image", "", "key or image is empty"),
    ],
)
def test_an_edited_line_is_named_and_costs_its_batch(images, edit, column, value, fault):
    before, _ = read_board(images)
    samples, faults = read_board(edit(2, column, value))
    assert fault in faults[0]
    assert all(str(images) in fault and "\n" not in fault for fault in faults)
    assert "leaderboard.images.csv:" in faults[0]
    assert set(samples[0].means("psnr")) == {1, 2}
    assert samples[1:] == before[1:], "nothing else is lost"


def test_a_line_twice_costs_its_batch(images):
    before, _ = read_board(images)
    lines = images.read_text(encoding="utf-8").splitlines()
    images.write_text("\n".join([*lines, lines[3]]) + "\n", encoding="utf-8")
    samples, faults = read_board(images)
    assert len(faults) == 1
    slot = lines[3].split(",")[lines[0].split(",").index("slot")]
    assert f"slot {slot} of batch 1 stands in line 4 too; batch 1 of it is left out" in faults[0]
    assert set(samples[0].means("psnr")) == {0, 2}
    assert samples[1:] == before[1:]


def test_a_truncated_table_keeps_its_whole_batches(images):
    lines = images.read_text(encoding="utf-8").splitlines()
    images.write_text("\n".join([*lines[:-1], lines[-1][:50]]), encoding="utf-8")
    samples, faults = read_board(images)
    columns = len(image_columns())
    assert f"{images}:{len(lines)}: 8 fields where the header has {columns}; the line is left out" in faults[0]
    assert faults[1] == f"{images}: mean_image: batch 0 has 1 of 2 lines (B=2); it is left out"
    assert [set(sample.means("psnr")) for sample in samples] == [{0, 1, 2}, {0, 1, 2}]


def test_a_table_cut_between_cells_is_seen_too(images):
    lines = images.read_text(encoding="utf-8").splitlines()
    images.write_text("\n".join(lines[:-2]) + "\n", encoding="utf-8")
    samples, faults = read_board(images)
    assert faults == [f"{images}: mean_image has a row in the board beside it, but no line here"]
    assert len(samples) == 2


def test_a_value_edited_within_its_range_is_seen_in_the_mean(edit, images):
    samples, faults = read_board(edit(2, "psnr", "99.5"))
    assert faults == [
        f"{images}: dlg (B=2): psnr averages 61.0833, but 47.8333 in the board beside it; psnr of it is left out"
    ]
    assert "psnr" not in samples[0].values
    assert "ssim" in samples[0].values


def test_without_its_board_a_table_is_read_but_not_checked(images):
    (images.parent / "leaderboard.csv").unlink()
    samples, faults = read_board(images)
    assert faults == [f"{images}: no board lies beside it (leaderboard.csv), so its means and costs are not known"]
    assert samples[0].evaluations is None
    assert samples[0].means("psnr")


def test_a_broken_board_beside_it_costs_only_the_costs(images):
    board = images.parent / "leaderboard.csv"
    frame = pd.read_csv(board, dtype=str, keep_default_na=False)
    frame.loc[0, "evaluations"] = "many"
    frame.to_csv(board, index=False)
    samples, faults = read_board(images)
    assert "evaluations is 'many', not a number; the line is left out" in faults[-1] + faults[0]
    assert samples[0].evaluations is None
    assert samples[1].evaluations == 100
    board.write_text("a,b\n1,2\n", encoding="utf-8")
    assert "is no board: it has no column 'attack'; its means and costs are not used" in read_board(images)[1][0]


def test_a_newer_board_is_not_read(images):
    board = images.parent / "leaderboard.csv"
    pd.read_csv(board, keep_default_na=False).assign(schema=6).to_csv(board, index=False)
    samples, faults = read_board(images)
    assert faults == [f"{board} is of schema 6, this version knows up to 5: upgrade; its means and costs are not used"]
    assert samples


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read"),
        (b"", "holds no rows"),
        (b"key,batch\n", "holds no rows"),
        (b"key,batch\na,1\n", "is no image table"),
        (b"key,key\na,1\n", "has the column 'key' twice"),
        (b"\xff\xfe\x00", "is no CSV file in UTF-8"),
        (b'key,batch\n"a,1\n', "is no CSV file in UTF-8"),
    ],
)
def test_what_is_no_image_table_is_one_line(tmp_path, content, fault):
    path = tmp_path / "x.images.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BoardError, match=fault) as error:
        read_board(path)
    assert "\n" not in str(error.value)


def test_the_board_itself_is_no_image_table(images):
    with pytest.raises(BoardError, match="is no image table"):
        read_board(images.parent / "leaderboard.csv")
