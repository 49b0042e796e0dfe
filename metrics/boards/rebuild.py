"""A board beside the records that it was made from: built again, row by row and field by field."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradinv.metrics.boards.check import Row
from gradinv.metrics.boards.leaderboard import leaderboard
from gradinv.metrics.boards.rules import Words
from gradinv.metrics.records.record import Record
from gradinv.metrics.records.settings import SETTING

OF_THE_MACHINE = ("engine", "threads", "device", "versions", "suite_hash")
"""Columns that say where a row was measured; another machine is worth a word and is no fault."""
_OF_THE_MOMENT = ("seconds_mean", "peak_memory_mb", "date", "schema")
_TOLERANCE = 1e-9  # relative: numbers stand in full precision

_Place = tuple[str, ...]


def rebuilt(path: Path, rows: Sequence[Row], records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """Faults and warnings where the board made of `records` is not the one in `path`.

    Every row of the board must have its records and every field their value; time, memory, date and the
    version of the table are of the moment and are passed over. Rows that only the records have are a warning: something measured was not published.
    """
    frame = leaderboard(records)
    lines = csv.DictReader(io.StringIO(frame.to_csv(index=False, lineterminator="\n")))
    again = {_place(words): words for words in lines}
    faults: list[str] = []
    warnings: list[str] = []
    for row in rows:
        where, words = f"{path}:{row.line}: {row.name}", again.pop(_place(row.words), None)
        if words is None:
            faults.append(f"{where}: the records hold no trial of it")
            continue
        for name in dict.fromkeys((*row.words, *words)):
            if name in _OF_THE_MOMENT or _same(row.words.get(name, ""), words.get(name, "")):
                continue
            text = f"{where}: {name} is {row.words.get(name, '')!r}, of the records {words.get(name, '')!r}"
            (warnings if name in OF_THE_MACHINE else faults).append(text)
    return faults, warnings + _unpublished(path, again.values())


def _place(words: Words) -> _Place:
    """What tells rows apart, in words; a ratio as the number it is."""
    own = tuple(words[name] for name in ("attack", "preset", "parameters", "is_control"))
    return own + tuple(
        str(float(words[name])) if column.unit == "ratio" else words[name] for name, column in SETTING.items()
    )


def _same(one: str, other: str) -> bool:
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    except ValueError:
        return False


def _unpublished(path: Path, others: Iterable[Words]) -> list[str]:
    return [
        f"{path}: the records hold {words['attack']} (B={words['batch_size']}) too, no row has it" for words in others
    ]
