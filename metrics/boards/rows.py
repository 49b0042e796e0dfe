"""A published board read back: its lines, their words as values, and what it says of each cell beside its images."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradinv.metrics.boards.columns import BUDGET_LEFT, LEADERBOARD_SCHEMA
from gradinv.metrics.image_size import ImageSize, as_image_size
from gradinv.metrics.images import board_metrics
from gradinv.metrics.plain_text import from_cell
from gradinv.metrics.records import CLOSED_FORM, IDENTITY, LATER_WORDS, SETTING, Address, Cell, address_of
from gradinv.metrics.registry import RequestError

Words = Mapping[str, str]
"""The fields of one line by column, as they stand in the file."""


class BoardError(RequestError):
    """A file that is no board, or none that this version reads; its text is one line that says which and why."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published board: where it stands in the file, its fields, and the cell that they identify."""

    cell: Cell
    line: int
    words: Words

    @property
    def name(self) -> str:
        """The key with the batch size, as faults name it."""
        return f"{self.cell.key} (B={self.cell.batch_size})"

    @property
    def n_batches(self) -> int:
        """Scored batches."""
        return int(self.words["n_batches"])


@dataclass(frozen=True)
class PublishedCosts:
    """What a board says of one cell that its images do not: what it spent, and the means that they must have."""

    cell: Cell
    means: Mapping[str, float]
    evaluations: float | None
    seconds: float | None
    n_failed: int
    closed_form: bool = False


def images_beside(board: Path) -> Path:
    """The image table of a board.

    >>> print(images_beside(Path("threat-models.csv")))
    threat-models.images.csv
    """
    return board.with_suffix(".images.csv")


def board_beside(images: Path) -> Path | None:
    """The board of an image table; None for a file whose name is no image table's."""
    name = images.name.removesuffix(".images.csv")
    return None if name == images.name else images.with_name(f"{name}.csv")


def read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and numbered lines of a CSV file; BoardError where it cannot be read or has no lines."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            # Strict: else a quote that is never closed would take the rest of the file for one field.
            reader = csv.reader(file, strict=True)
            # Not a count of rows: notes may hold line ends, and the number is to be found in an editor.
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise BoardError(f"{path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BoardError(f"{path} is no CSV file in UTF-8 ({error})") from error
    if len(rows) < 2:
        raise BoardError(f"{path} holds no rows")
    header = rows[0][1]
    # A dictionary would keep the last of the two and say nothing.
    twice = [name for index, name in enumerate(header) if name in header[:index]]
    if twice:
        raise BoardError(f"{path} has the column {twice[0]!r} twice")
    return header, rows[1:]


def words_of(header: Sequence[str], row: Sequence[str]) -> Words:
    """The words of one line by column; ValueError where the line has more or fewer fields.

    A setting column that came after the table was published has its default.
    """
    if len(row) != len(header):
        raise ValueError(f"{len(row)} fields where the header has {len(header)}")
    return {**LATER_WORDS, **dict(zip(header, map(from_cell, row), strict=True))}


def require(path: Path, header: Iterable[str], names: Iterable[str], kind: str) -> None:
    """BoardError where a column of these names is missing, so that the file is none of this kind.

    Setting columns that came after the first boards may be missing.
    """
    missing = [name for name in names if name not in {*header, *LATER_WORDS}]
    if missing:
        raise BoardError(f"{path} is no {kind}: it has no column {missing[0]!r}")


def setting_in(words: Words) -> dict[str, Any]:
    """The setting and identity as a record holds them; ValueError where one is of a wrong type or range."""
    return {name: _value(name, words[name]) for name in SETTING} | {name: words[name] for name in IDENTITY}


def cell_in(words: Words) -> Cell:
    """The cell that a row of a board identifies; ValueError in words where one of its fields is wrong."""
    if not words["attack"]:
        raise ValueError("attack is empty")
    # Boards that lack `tuning` are read too: it tells no two rows apart.
    fields = {name: words[name] for name in ("attack", "preset", "parameters", "tuning") if name in words}
    is_control = truth("is_control", words["is_control"])
    return Cell.model_validate({**fields, **setting_in(words), "is_control": is_control})


def _value(name: str, word: str) -> Any:
    column = SETTING[name]
    if column.unit == "px":
        return pixels(name, word)
    if column.is_integer:
        return count(name, word, least=int(column.low))
    if column.unit == "true/false":
        return truth(name, word)
    if column.is_number:
        return number(name, word)
    if not word:
        raise ValueError(f"{name} is empty")
    return word


def count(name: str, word: str, least: int = 0) -> int:
    """The word as a count of at least `least`; ValueError otherwise."""
    # isdecimal alone would take the digits of every script.
    if not (word.isascii() and word.isdecimal()) or int(word) < least:
        raise ValueError(f"{name} is {word!r}, not a count from {least}")
    return int(word)


def pixels(name: str, word: str) -> ImageSize:
    """The word as a size of images, a count from 1 or `64x80`; ValueError otherwise."""
    return as_image_size(word) if "x" in word else count(name, word, least=1)


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


def costs_beside(images: Path) -> tuple[dict[Address, PublishedCosts] | None, list[str]]:
    """What the board that an image table belongs to says of each cell, and one line for each fault.

    None where no readable board lies beside it: an image table alone can be compared with, but not checked.
    """
    path = board_beside(images)
    if path is None or not path.exists():
        name = images.name if path is None else path.name
        return None, [f"{images}: no board lies beside it ({name}), so its means and costs are not known"]
    try:
        header, lines = read_table(path)
        needed = ("attack", "preset", "parameters", "is_control", *SETTING, "evaluations", "seconds_mean", "n_failed")
        require(path, header, (*needed, "schema"), "board")
        _check_schema(path, header.index("schema"), [row for _, row in lines])
    except BoardError as error:
        return None, [f"{error}; its means and costs are not used"]
    costs: dict[Address, PublishedCosts] = {}
    faults = []
    for line, row in lines:
        try:
            published = _costs(words_of(header, row))
        # One bad line costs its own cell, not the board.
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}; the line is left out")
        else:
            costs[address_of(published.cell)] = published
    return costs, faults


def _check_schema(path: Path, column: int, rows: Iterable[Sequence[str]]) -> None:
    # The newest decides: a board may have been put together from rows of several versions.
    newest = max((int(row[column]) for row in rows if column < len(row) and row[column].isdecimal()), default=0)
    if newest > LEADERBOARD_SCHEMA:
        raise BoardError(f"{path} is of schema {newest}, this version knows up to {LEADERBOARD_SCHEMA}: upgrade")


def _costs(words: Words) -> PublishedCosts:
    columns = {metric: f"{metric}_mean" for metric in board_metrics()}
    means = {metric: number(name, words[name]) for metric, name in columns.items() if words.get(name)}
    evaluations, seconds = (_optional(name, words[name]) for name in ("evaluations", "seconds_mean"))
    closed_form = f"{BUDGET_LEFT}: {CLOSED_FORM}" in words.get("notes", "").split("; ")
    failed = count("n_failed", words["n_failed"])
    return PublishedCosts(cell_in(words), means, evaluations, seconds, failed, closed_form)


def _optional(name: str, word: str) -> float | None:
    return number(name, word) if word else None
