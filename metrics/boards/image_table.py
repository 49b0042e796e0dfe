"""Published boards read back: every line of an image table is checked, and what is wrong costs its own batch only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradinv.metrics.boards.columns import DETAILS, required_image_columns
from gradinv.metrics.boards.rows import (
    BoardRow,
    Place,
    as_setting,
    board_rows,
    count,
    number,
    read_table,
    require,
    truth,
    words_of,
)
from gradinv.metrics.images.facts import counting, facts_of
from gradinv.metrics.records.reading import mean
from gradinv.metrics.records.record import SCORED
from gradinv.metrics.records.samples import Sample, Unit, numbered
from gradinv.metrics.records.settings import LATER

_NO_METRICS = {*required_image_columns(), *LATER, *DETAILS}
_ROUNDING = 1e-6  # of a metric computed in single precision
_TOLERANCE = 1e-9  # relative: both tables hold numbers in full precision


@dataclass(frozen=True)
class _Line:
    """One line of the table, its words turned into values; `place` is the key with its setting."""

    number: int
    key: str
    is_control: bool
    setting: Mapping[str, Any]
    batch: int
    slot: int
    image: str
    diverged: bool
    metrics: Mapping[str, float]

    @property
    def place(self) -> Place:
        return self.key, *self.setting.values()


@dataclass
class _Table:
    """The sound lines by place and batch, the batches that a fault has cost, and the faults."""

    batches: dict[Place, dict[int, list[_Line]]] = field(default_factory=dict)
    lost: set[tuple[Place, int]] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def read_board(path: Path) -> tuple[list[Sample], list[str]]:
    """The samples of a board's `.images.csv`, and one line for each fault.

    A batch with a fault (a value that is no number or outside its metric's range, a line twice or missing) is left
    out, all others count. The `.csv` beside it, where there is one, tells what was spent and must have the same means.
    Raises BoardError where the file is no image table.
    """
    header, rows = read_table(path)
    require(path, header, required_image_columns(), "image table (NAME.images.csv) of a board")
    table = _Table()
    for line_number, row in rows:
        _take(table, path, line_number, header, row)
    for place in table.batches:
        _drop_incomplete(table, path, place)
    beside, faults = board_rows(path)
    samples = [_sample(place, batches, path) for place, batches in table.batches.items() if batches]
    checked = [_with_costs(sample, beside, table, path) for sample in samples]
    absent = [place for place, row in (beside or {}).items() if row.means and place not in table.batches]
    table.faults += [f"{path}: {place[0]} has a row in the board beside it, but no line here" for place in absent]
    return checked, table.faults + faults


def _take(table: _Table, path: Path, line_number: int, header: Sequence[str], row: Sequence[str]) -> None:
    """Put one line into the table, or say what is wrong with it."""
    where = f"{path}:{line_number}"
    if len(row) != len(header):
        table.faults.append(f"{where}: {len(row)} fields where the header has {len(header)}; the line is left out")
        return
    words = words_of(header, row)
    try:
        line = _line(line_number, words)
    except ValueError as error:
        table.faults.append(f"{where}: {error}; the line is left out")
        return
    lines = table.batches.setdefault(line.place, {}).setdefault(line.batch, [])
    twins = [other.number for other in lines if other.slot == line.slot]
    wrong = [f"slot {line.slot} of batch {line.batch} stands in line {twin} too" for twin in twins]
    wrong += [text for text in map(_out_of_range, line.metrics, line.metrics.values()) if text]
    lines.append(line)
    if wrong:
        table.faults.append(f"{where}: {line.key}: {wrong[0]}; batch {line.batch} of it is left out")
        table.lost.add((line.place, line.batch))


def _line(line_number: int, words: Mapping[str, str]) -> _Line:
    """The values of one line; ValueError in words where one is none."""
    if words["state"] not in SCORED:
        raise ValueError(f"state is {words['state']!r}, not done or diverged")
    if not words["key"] or not words["image"]:
        raise ValueError("key or image is empty")
    setting = as_setting(words)
    batch, slot = (count(name, words[name]) for name in ("batch", "slot"))
    if slot >= setting["batch_size"]:
        raise ValueError(f"slot is {slot}, the batch has {setting['batch_size']} images")
    metrics = [name for name in words if name not in _NO_METRICS]
    values = {name: number(name, words[name]) for name in metrics if words[name] != ""}
    is_control, diverged = truth("is_control", words["is_control"]), words["state"] == "diverged"
    return _Line(line_number, words["key"], is_control, setting, batch, slot, words["image"], diverged, values)


def _out_of_range(metric: str, value: float) -> str:
    facts = facts_of(metric)
    if facts is None or facts.low - _ROUNDING <= value <= facts.high + _ROUNDING or math.isnan(value):
        return ""
    return f"{metric} is {value:g}, outside {facts.low:g} to {facts.high:g}"


def _drop_incomplete(table: _Table, path: Path, place: Place) -> None:
    """Leave out the batches that a fault has cost, and those of which lines are missing."""
    batches = table.batches[place]
    for batch, lines in list(batches.items()):
        size = lines[0].setting["batch_size"]
        if (place, batch) not in table.lost and len(lines) < size:
            held = f"{len(lines)} of {size} lines"
            table.faults.append(f"{path}: {place[0]}: batch {batch} has {held} (B={size}); it is left out")
            table.lost.add((place, batch))
        if (place, batch) in table.lost:
            del batches[batch]


def _sample(place: Place, batches: Mapping[int, Sequence[_Line]], path: Path) -> Sample:
    values: dict[str, dict[Unit, float]] = {}
    for batch, lines in batches.items():
        names = numbered(line.image for line in lines)
        for line, name in zip(lines, names, strict=True):
            for metric, value in line.metrics.items():
                for counted in counting(metric, [value]):
                    values.setdefault(metric, {})[batch, name] = counted
    first = next(iter(batches.values()))[0]
    diverged = sum(lines[0].diverged for lines in batches.values())
    return Sample(first.key, first.is_control, first.setting, values, str(path), n_diverged=diverged)


def _with_costs(sample: Sample, rows: Mapping[Place, BoardRow] | None, table: _Table, path: Path) -> Sample:
    """The sample with what the board says it cost, without the metrics whose mean is not the board's."""
    if rows is None:
        return sample
    cell, row = f"{sample.key} (B={sample.setting['batch_size']})", rows.get(sample.place)
    if row is None:
        table.faults.append(f"{path}: {cell} has no row in the board beside it")
        return sample
    whole = not any(place == sample.place for place, _ in table.lost)
    wrong = _differing(sample, row) if whole else {}
    table.faults += [f"{path}: {cell}: {text}; {metric} of it is left out" for metric, text in wrong.items()]
    values = {metric: found for metric, found in sample.values.items() if metric not in wrong}
    return replace(sample, values=values, evaluations=row.evaluations, seconds=row.seconds, n_failed=row.n_failed)


def _differing(sample: Sample, row: BoardRow) -> dict[str, str]:
    """Metric -> what is wrong, where the images' mean over batches is not the board's: a file was edited."""
    texts = {}
    for metric, published in row.means.items():
        found = mean(list(sample.means(metric).values()))
        if found is not None and not math.isclose(found, published, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            texts[metric] = f"{metric} averages {found:.6g}, but {published:.6g} in the board beside it"
    return texts
