"""Published tables as data frames: every column of the type that it has in the tables made from records."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradinv.metrics.boards.columns import DETAILS, image_columns, leaderboard_columns
from gradinv.metrics.boards.label_table import LABEL_BATCH_COLUMNS, LABEL_COLUMNS
from gradinv.metrics.boards.rows import Words, read_table, words_of
from gradinv.metrics.boards.rules import metrics_of
from gradinv.metrics.records import Column

_UNKNOWN = Column("a column of a plug-in or of a newer version", "1")


def read_frame(path: Path) -> pd.DataFrame:
    """A board, an image table or a board of label inference as a data frame, rows and columns as in the file.

    Numbers are floats (NaN: not measured), counts nullable integers; words stay words, `true` and `false` included.
    Raises BoardError in one line where the file is no table, or a line has more or fewer fields than the header.
    """
    header, lines = read_table(path)
    rows = [words_of(header, fields) for _, fields in lines]
    columns = _columns(dict.fromkeys(header, ""))
    return pd.DataFrame({name: _read([row[name] for row in rows], columns.get(name, _UNKNOWN)) for name in header})


def _columns(header: Words) -> Mapping[str, Column]:
    """What is known of the columns of any of our tables; later ones go before."""
    tables = (
        LABEL_COLUMNS,
        LABEL_BATCH_COLUMNS,
        image_columns(details=DETAILS),
        leaderboard_columns(metrics_of(header)),
    )
    return {name: column for table in tables for name, column in table.items()}


def _read(words: Sequence[str], column: Column) -> pd.Series:
    """The words of one column as values; words stay words where one of them is no number."""
    if not column.is_number:
        return series(words, column)
    try:
        numbers = [float(word) if word else None for word in words]
        return series([int(n) if column.is_integer and n is not None else n for n in numbers], column)
    except ValueError:
        return series(words, Column(column.meaning))


def series(values: Sequence[Any], column: Column) -> pd.Series:
    """The values of one column; None is what was not measured."""
    if column.is_integer:
        return pd.Series(values, dtype="Int64")  # nullable: a column of counts with one empty would become floats
    if not column.is_number:
        return pd.Series(["" if value is None else str(value) for value in values], dtype="object")
    # None would make a column of objects, and its numbers would lose their type.
    return pd.Series([math.nan if value is None else value for value in values], dtype="float64")
