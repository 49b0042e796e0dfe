"""The rows of a published board read back: what each cell spent, and the means that its image table must have."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradinv.metrics.boards.columns import LEADERBOARD_SCHEMA
from gradinv.metrics.images.facts import board_metrics
from gradinv.metrics.records.record import Cell
from gradinv.metrics.records.settings import LATER_WORDS, SETTING
from gradinv.metrics.registry import RequestError

Place = tuple[Any, ...]
"""A key and the values of its setting: what tells the rows of a board apart."""


class BoardError(RequestError):
    """A file that is no board, or none that this version reads; its text is one line that says which and why."""


@dataclass(frozen=True)
class BoardRow:
    """What a board says about one cell, beside its images."""

    means: Mapping[str, float]
    evaluations: float | None
    seconds: float | None
    n_failed: int


def read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and numbered lines of a CSV file; BoardError where it cannot be read or has no lines."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise BoardError(f"{path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BoardError(f"{path} is no CSV file in UTF-8 ({error})") from error
    if len(rows) < 2:
        raise BoardError(f"{path} holds no rows")
    header = rows[0][1]
    twice = [name for index, name in enumerate(header) if name in header[:index]]
    if twice:
        raise BoardError(f"{path} has the column {twice[0]!r} twice")
    return header, rows[1:]


def words_of(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """The words of one line by column; a setting column that came after the table was published has its default."""
    return {**LATER_WORDS, **dict(zip(header, row, strict=True))}


def require(path: Path, header: Iterable[str], names: Iterable[str], kind: str) -> None:
    """BoardError where a column of these names is missing, so that the file is none of this kind.

    Setting columns that came after the first boards may be missing.
    """
    missing = [name for name in names if name not in {*header, *LATER_WORDS}]
    if missing:
        raise BoardError(f"{path} is no {kind}: it has no column {missing[0]!r}")


def as_setting(words: Mapping[str, str]) -> dict[str, Any]:
    """The setting columns as a record holds them; ValueError in words where one is of a wrong type or range."""
    return {name: _value(name, words[name]) for name in SETTING}


def _value(name: str, word: str) -> Any:
    unit = SETTING[name].unit
    if unit in ("count", "px"):
        return count(name, word, least=1 if name in ("image_size", "batch_size", "max_equal_labels") else 0)
    if unit == "true/false":
        return truth(name, word)
    if unit == "ratio":
        return number(name, word)
    if not word:
        raise ValueError(f"{name} is empty")
    return word


def count(name: str, word: str, least: int = 0) -> int:
    """The word as a count of at least `least`; ValueError otherwise."""
    if not (word.isascii() and word.isdecimal()) or int(word) < least:
        raise ValueError(f"{name} is {word!r}, not a count from {least}")
    return int(word)


def truth(name: str, word: str) -> bool:
    """The word, true or false; ValueError for any other."""
    if word not in ("true", "false"):
        raise ValueError(f"{name} is {word!r}, not true or false")
    return word == "true"


def number(name: str, word: str) -> float:
    """The word as a number; ValueError otherwise."""
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{name} is {word!r}, not a number") from None


def board_rows(images: Path) -> tuple[dict[Place, BoardRow] | None, list[str]]:
    """The rows of the board that an image table belongs to, and one line for each fault.

    None where no readable board lies beside it: an image table alone can be compared with, but not checked.
    """
    path = images.with_name(images.name.removesuffix(".images.csv") + ".csv")
    if path == images or not path.exists():
        return None, [f"{images}: no board lies beside it ({path.name}), so its means and costs are not known"]
    try:
        header, lines = read_table(path)
        needed = ("attack", "preset", "parameters", "is_control", *SETTING, "evaluations", "seconds_mean", "n_failed")
        require(path, header, (*needed, "schema"), "board")
        _check_schema(path, header.index("schema"), (row for _, row in lines))
    except BoardError as error:
        return None, [f"{error}; its means and costs are not used"]
    rows: dict[Place, BoardRow] = {}
    faults = []
    for line, row in lines:
        try:
            place, found = _row(words_of(header, row))
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}; the line is left out")
        else:
            rows[place] = found
    return rows, faults


def _check_schema(path: Path, column: int, rows: Iterable[Sequence[str]]) -> None:
    newest = max((int(row[column]) for row in rows if column < len(row) and row[column].isdecimal()), default=0)
    if newest > LEADERBOARD_SCHEMA:
        raise BoardError(f"{path} is of schema {newest}, this version knows up to {LEADERBOARD_SCHEMA}: upgrade")


def _row(words: Mapping[str, str]) -> tuple[Place, BoardRow]:
    setting = as_setting(words)
    own = {name: words[name] for name in ("attack", "preset", "parameters")}
    cell = Cell.model_validate({**own, **setting, "is_control": truth("is_control", words["is_control"])})
    names = [name.removesuffix("_mean") for name in words if name.endswith("_mean")]
    measured = [name for name in names if name in board_metrics() and words[f"{name}_mean"]]
    means = {name: number(f"{name}_mean", words[f"{name}_mean"]) for name in measured}
    spent, seconds = (_optional(name, words[name]) for name in ("evaluations", "seconds_mean"))
    return (cell.key, *setting.values()), BoardRow(means, spent, seconds, count("n_failed", words["n_failed"]))


def _optional(name: str, word: str) -> float | None:
    return number(name, word) if word else None
