"""A setting column that came later is missing in older tables, and they read as if it held its default."""

from pathlib import Path

import pandas as pd
import pytest

from gradinv.metrics.boards.check import check_board
from gradinv.metrics.boards.columns import LEADERBOARD_SCHEMA
from gradinv.metrics.boards.image_table import read_board
from gradinv.metrics.boards.leaderboard_table import leaderboard, write_board
from gradinv.metrics.boards.rebuild import rebuilt
from gradinv.metrics.boards.rows import BoardError
from gradinv.metrics.records.settings import LATER, LATER_WORDS

PUBLISHED = Path(__file__).parents[3] / "leaderboards"
BOARDS = sorted(path for path in PUBLISHED.glob("*.csv") if path.with_suffix(".images.csv").is_file())


def without(board: Path, folder: Path, columns: str | list[str]) -> Path:
    """A copy of a board and its image table without some columns."""
    for path in (board, board.with_suffix(".images.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.drop(columns=columns, errors="ignore").to_csv(folder / path.name, index=False, lineterminator="\n")
    return folder / board.name


def holds_the_default(board: Path, column: str) -> bool:
    """Whether a board could be from before the column: it lacks it, or has the default in every row."""
    table = pd.read_csv(board, dtype=str, keep_default_na=False)
    return column not in table or set(table[column]) == {LATER_WORDS[column]}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_published_board_from_before_the_later_columns_reads_equal_and_passes(board, tmp_path):
    columns = [column for column in LATER if holds_the_default(board, column)]
    assert columns
    older = without(board, tmp_path, columns)
    checked, expected = check_board(older), check_board(board)
    assert checked.faults == expected.faults == []
    assert [row.cell for row in checked.rows] == [row.cell for row in expected.rows]
    samples, faults = read_board(older.with_suffix(".images.csv"))
    again, _ = read_board(board.with_suffix(".images.csv"))
    assert faults == []
    assert [(sample.cell, sample.values) for sample in samples] == [(sample.cell, sample.values) for sample in again]


def test_any_other_setting_column_must_be_there(tmp_path):
    with pytest.raises(BoardError, match="no column 'labels'"):
        check_board(without(BOARDS[0], tmp_path, "labels"))


def test_an_older_board_is_equal_to_its_records(make_record, tmp_path):
    records = [make_record("dlg", r, (20.0, 21.0 + r)) for r in range(3)]
    board = tmp_path / "leaderboard.csv"
    write_board(records, board)
    text = board.read_text(encoding="utf-8")
    (tmp_path / "older").mkdir()
    older = without(board, tmp_path / "older", "precision")
    frame = pd.read_csv(older, dtype=str, keep_default_na=False)
    frame.assign(schema="1").to_csv(older, index=False, lineterminator="\n")
    rows = check_board(older).rows
    assert {row.words["precision"] for row in rows} == {"float32"}
    assert rebuilt(older, rows, records) == ([], [])
    changed = [
        record.model_copy(update={"cell": record.cell.model_copy(update={"precision": "bf16"})}) for record in records
    ]
    assert "the records hold no trial of it" in rebuilt(older, rows, changed)[0][0]
    assert board.read_text(encoding="utf-8") == text
    assert set(leaderboard(records)["schema"]) == {LEADERBOARD_SCHEMA}
