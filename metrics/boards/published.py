"""Published tables read back without records: as data frames, and as the lines that tables and pages are made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gradinv.metrics.boards.columns import DETAILS, image_columns, leaderboard_columns
from gradinv.metrics.boards.label_table import LABEL_BATCH_COLUMNS, LABEL_COLUMNS
from gradinv.metrics.boards.lines import BoardLine
from gradinv.metrics.boards.rows import BoardError, Words, cell_in, images_beside, read_table, words_of
from gradinv.metrics.boards.rules import FIRST_WITH_RESPECTS, metrics_of
from gradinv.metrics.image_size import ImageSize, as_image_size
from gradinv.metrics.leakage import NONE
from gradinv.metrics.records import SETTING, Column, Setting, by_setting, ordered

_PIXELS = "pixels"
_UNKNOWN = Column("a column of a plug-in or of a newer version", "1")


@dataclass(frozen=True)
class PublishedBoard:
    """A board of attacks: its file, and every setting with its lines, which have no trials."""

    path: Path
    settings: list[tuple[Setting, list[BoardLine]]]

    @property
    def lines(self) -> list[BoardLine]:
        """The lines of all settings."""
        return [line for _, lines in self.settings for line in lines]


@dataclass(frozen=True)
class PublishedLabels:
    """A board of label inference: its file and its rows."""

    path: Path
    frame: pd.DataFrame


def published_boards(folder: Path) -> list[PublishedBoard | PublishedLabels]:
    """The boards that lie in a folder, by name: of attacks, and of label inference; other tables are passed over.

    Raises BoardError where there is none, or where one of them cannot be read.
    """
    boards = [board for path in sorted(folder.glob("*.csv")) if (board := _read(path)) is not None]
    if not boards:
        raise BoardError(f"{folder} holds no board (NAME.csv); give the folder that the boards lie in")
    return boards


def _read(path: Path) -> PublishedBoard | PublishedLabels | None:
    header = set(read_table(path)[0])
    if {"rule", "accuracy_mean"} <= header:
        frame = read_frame(path)
        # Boards from before clients took local steps have no such column.
        if "update" not in frame:
            frame = frame.assign(update="gradient")
        return PublishedLabels(path, frame.reindex(columns=list(LABEL_COLUMNS)))
    # An image table lies beside every board of attacks, and beside nothing else.
    return PublishedBoard(path, _settings(path)) if images_beside(path).is_file() and "psnr_mean" in header else None


def _settings(path: Path) -> list[tuple[Setting, list[BoardLine]]]:
    header, rows = read_table(path)
    values = read_frame(path).to_dict("records")
    lines = {}
    for (number, fields), row in zip(rows, values, strict=True):
        try:
            cell = cell_in(words_of(header, fields))
        except ValueError as error:
            raise BoardError(f"{path}:{number}: {error}") from error
        lines[cell] = BoardLine(cell, _whole({str(name): value for name, value in row.items()}), ())
    return [(setting, [lines[cell] for cell in ordered(group)]) for setting, group in by_setting(lines)]


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every column of today; what it does not say of leaks, by what it says of pixels."""
    columns = leaderboard_columns()
    later = {name: (float("nan") if column.is_number else "") for name, column in columns.items()}
    defaults = {name: column.default for name, column in SETTING.items() if column.default is not None}
    whole = {**later, **defaults, **row}
    if whole["schema"] < FIRST_WITH_RESPECTS and not whole["leaks"]:
        # Before there were respects `works` was a verdict on PSNR.
        pixels = {"true": _PIXELS, "false": NONE}.get(whole["works"], "")
        whole |= {"leaks": pixels, "from_gradient": pixels, "verdict": _older(whole["works"])}
    return whole


def _older(works: str) -> str:
    return {
        "true": "pixels leak from the gradient; structure and identity were not looked at",
        "false": "no better than controls in pixels; structure and identity were not looked at",
    }.get(works, "")


def read_frame(path: Path) -> pd.DataFrame:
    """A board, an image table or a board of label inference as a data frame, rows and columns as in the file.

    Numbers are floats (NaN: not measured), counts nullable integers, sizes of images that are not square `64x80`;
    words stay words, `true` and `false` included.
    Raises BoardError in one line where the file is no table, or a line has more or fewer fields than the header.
    """
    header, lines = read_table(path)
    rows = [words_of(header, fields) for _, fields in lines]
    columns = _columns(dict.fromkeys(header, ""))
    return pd.DataFrame({name: _typed([row[name] for row in rows], columns.get(name, _UNKNOWN)) for name in header})


def _columns(header: Words) -> Mapping[str, Column]:
    """What is known of the columns of any of our tables; later ones go before."""
    tables = (
        LABEL_COLUMNS,
        LABEL_BATCH_COLUMNS,
        image_columns(details=DETAILS),
        leaderboard_columns(metrics_of(header)),
    )
    return {name: column for table in tables for name, column in table.items()}


def _typed(words: Sequence[str], column: Column) -> pd.Series:
    """The words of one column as values; words stay words where one of them is no number."""
    if not column.is_number:
        return series(words, column)
    try:
        return series([_number(word, column) if word else None for word in words], column)
    except ValueError:
        return series(words, Column(column.meaning))


def _number(word: str, column: Column) -> ImageSize | float:
    if column.unit == "px" and "x" in word:
        return as_image_size(word)
    return int(float(word)) if column.is_integer else float(word)


def series(values: Sequence[Any], column: Column) -> pd.Series:
    """The values of one column; None is what was not measured."""
    if column.unit == "px" and any(isinstance(value, str) for value in values):
        return pd.Series(values, dtype="object")  # sizes of images, of which some have two numbers
    if column.is_integer:
        return pd.Series(values, dtype="Int64")  # nullable: a column of counts with one empty would become floats
    if not column.is_number:
        return pd.Series(["" if value is None else str(value) for value in values], dtype="object")
    # None would make a column of objects, and its numbers would lose their type.
    return pd.Series([math.nan if value is None else value for value in values], dtype="float64")
