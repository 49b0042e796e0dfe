"""A board beside the records that it was made from: built again, row by row and field by field."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradinv.metrics.boards.columns import LETTER, SHARES, UTILITY, VICTIM
from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.boards.rows import PublishedRow, Words, cell_in
from gradinv.metrics.boards.rules import has_bounds, metrics_of
from gradinv.metrics.records import Address, Record, address_of

OF_THE_MACHINE = ("engine", "threads", "device", "versions", "suite_hash")
"""Columns that say where a row was measured; another machine is worth a word and is no fault."""
# These differ between two runs of one trial, or say which version wrote the table.
_OF_THE_MOMENT = ("seconds_mean", "peak_memory_mb", "date", "schema")
_TOLERANCE = 1e-9  # relative: numbers stand in full precision


def rebuilt(path: Path, rows: Sequence[PublishedRow], records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """Faults and warnings where the board made of `records` is not the one in `path`.

    Every row of the board must have its records and every field their value; time, memory, date and the version of the
    table are of the moment and are passed over. Rows that only the records have are a warning: something measured was
    not published.
    """
    rows_again = _rows_of(records)
    faults: list[str] = []
    warnings: list[str] = []
    for row in rows:
        where, words = f"{path}:{row.line}: {row.name}", rows_again.pop(address_of(row.cell), None)
        # Taken out of the dictionary, so that what is left in the end was not published.
        if words is None:
            faults.append(f"{where}: the records hold no trial of it")
            continue
        for name in _differing(_of_today(row.words, words), words):
            text = f"{where}: {name} is {row.words.get(name, '')!r}, of the records {words.get(name, '')!r}"
            (warnings if name in OF_THE_MACHINE else faults).append(text)
    return faults, warnings + _unpublished(path, rows_again.values())


def _of_today(published: Words, words: Words) -> Words:
    """A published row; where it has intervals of an older method, which its images give again, with those of today."""
    if has_bounds(published):
        return published
    bounds = (f"{metric}_{bound}" for metric in metrics_of(published) for bound in ("low", "high"))
    return {**published, **{name: words.get(name, "") for name in bounds}}


def _rows_of(records: Sequence[Record]) -> dict[Address, Words]:
    """The rows of the records' board, as a file would hold them."""
    # Through text: what is compared is what a reader of the published file would see.
    text = leaderboard(records).to_csv(index=False, lineterminator="\n")
    return {address_of(cell_in(words)): words for words in csv.DictReader(io.StringIO(text))}


def _differing(published: Words, words: Words) -> list[str]:
    """Names of the columns in which two rows differ, those of the moment left out."""
    # A board from before a column came has nothing there that could be wrong.
    passed_over = {*_OF_THE_MOMENT, *(name for name in (*LETTER, *SHARES, *VICTIM, *UTILITY) if name not in published)}
    names = [name for name in dict.fromkeys((*published, *words)) if name not in passed_over]
    return [name for name in names if not _same(published.get(name, ""), words.get(name, ""))]


def _same(published: str, word: str) -> bool:
    # Text first: most fields are words, and a number that is written alike is the same.
    try:
        return published == word or math.isclose(float(published), float(word), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    except ValueError:
        return False


def _unpublished(path: Path, rows: Iterable[Words]) -> list[str]:
    return [f"{path}: the records hold {row['attack']} (B={row['batch_size']}) too, no row has it" for row in rows]
