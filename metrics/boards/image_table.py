"""Image tables read back: every line is checked, and what is wrong costs its own batch only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gradinv.metrics.boards.columns import DETAILS, required_image_columns
from gradinv.metrics.boards.rows import (
    PublishedCosts,
    Words,
    costs_beside,
    count,
    number,
    read_table,
    require,
    setting_in,
    truth,
    words_of,
)
from gradinv.metrics.images import counting, facts_of
from gradinv.metrics.records import (
    LATER_WORDS,
    SCORED,
    Address,
    Cell,
    Sample,
    Unit,
    address_of,
    cell_of_key,
    mean,
    numbered,
)

_NO_METRICS = {*required_image_columns(), *LATER_WORDS, *DETAILS}
_ROUNDING = 1e-6  # of a metric computed in single precision
_TOLERANCE = 1e-9  # relative: both tables hold numbers in full precision


@dataclass(frozen=True)
class _ImageLine:
    """One line of the table, its words turned into values."""

    cell: Cell
    number: int
    batch: int
    slot: int
    image: str
    diverged: bool
    metrics: Mapping[str, float]


@dataclass
class _ImageTable:
    """The sound lines by cell and batch, the batches that a fault has cost, and the faults."""

    path: Path
    batches: dict[Cell, dict[int, list[_ImageLine]]] = field(default_factory=dict)
    lost: set[tuple[Cell, int]] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def read_board(path: Path) -> tuple[list[Sample], list[str]]:
    """The samples of a board's `.images.csv`, and one line for each fault.

    A batch with a fault (a value that is no number or outside its metric's range, a line twice or missing) is left
    out, all others count. The `.csv` beside it, where there is one, tells what was spent and must have the same means.
    Raises BoardError where the file is no image table.
    """
    header, rows = read_table(path)
    require(path, header, required_image_columns(), "image table (NAME.images.csv) of a board")
    table = _ImageTable(path)
    for line_number, row in rows:
        _take(table, line_number, header, row)
    # Not before the last line: the lines of a batch may stand anywhere in the file.
    for cell in table.batches:
        _drop_incomplete(table, cell)
    costs, faults = costs_beside(path)
    samples = [_sample(cell, batches, path) for cell, batches in table.batches.items() if batches]
    checked = [_with_costs(sample, costs, table) for sample in samples]
    addresses = {address_of(cell) for cell in table.batches}
    for address, published in (costs or {}).items():
        if published.means and address not in addresses:
            table.faults.append(f"{path}: {published.cell.key} has a row in the board beside it, but no line here")
    return checked, table.faults + faults


def _take(table: _ImageTable, line_number: int, header: Sequence[str], row: Sequence[str]) -> None:
    """Put one line into the table, or say what is wrong with it."""
    where = f"{table.path}:{line_number}"
    try:
        line = _line(line_number, words_of(header, row))
    except ValueError as error:
        table.faults.append(f"{where}: {error}; the line is left out")
        return
    lines = table.batches.setdefault(line.cell, {}).setdefault(line.batch, [])
    twins = [twin.number for twin in lines if twin.slot == line.slot]
    flaws = [f"slot {line.slot} of batch {line.batch} stands in line {twin} too" for twin in twins]
    flaws += [text for text in map(_out_of_range, line.metrics, line.metrics.values()) if text]
    # A wrong line is kept too: its batch is lost once and in one line, and is not called incomplete as well.
    lines.append(line)
    if flaws:
        table.faults.append(f"{where}: {line.cell.key}: {flaws[0]}; batch {line.batch} of it is left out")
        table.lost.add((line.cell, line.batch))


def _line(line_number: int, words: Words) -> _ImageLine:
    """The values of one line; ValueError in words where one is none."""
    if words["state"] not in SCORED:
        raise ValueError(f"state is {words['state']!r}, not done or diverged")
    if not words["key"] or not words["image"]:
        raise ValueError("key or image is empty")
    setting = setting_in(words)
    batch, slot = (count(name, words[name]) for name in ("batch", "slot"))
    if slot >= setting["batch_size"]:
        raise ValueError(f"slot is {slot}, the batch has {setting['batch_size']} images")
    metrics = [name for name in words if name not in _NO_METRICS]
    # Empty is not measured, which is no fault: the board's notes say why.
    values = {name: number(name, words[name]) for name in metrics if words[name] != ""}
    cell = cell_of_key(words["key"], setting, is_control=truth("is_control", words["is_control"]))
    return _ImageLine(cell, line_number, batch, slot, words["image"], words["state"] == "diverged", values)


def _out_of_range(metric: str, value: float) -> str:
    facts = facts_of(metric)
    # An exact image has PSNR inf, which is within its range; NaN is what a metric says of an image it cannot judge.
    if facts is None or facts.low - _ROUNDING <= value <= facts.high + _ROUNDING or math.isnan(value):
        return ""
    return f"{metric} is {value:g}, outside {facts.low:g} to {facts.high:g}"


def _drop_incomplete(table: _ImageTable, cell: Cell) -> None:
    """Leave out the batches that a fault has cost, and those of which lines are missing."""
    batches = table.batches[cell]
    for batch, lines in list(batches.items()):
        if (cell, batch) not in table.lost and len(lines) < cell.batch_size:
            number_of_lines = f"{len(lines)} of {cell.batch_size} lines"
            table.faults.append(
                f"{table.path}: {cell.key}: batch {batch} has {number_of_lines} (B={cell.batch_size}); it is left out"
            )
            table.lost.add((cell, batch))
        if (cell, batch) in table.lost:
            del batches[batch]


def _sample(cell: Cell, batches: Mapping[int, Sequence[_ImageLine]], path: Path) -> Sample:
    values: dict[str, dict[Unit, float]] = {}
    for batch, lines in batches.items():
        names = numbered(line.image for line in lines)
        for line, name in zip(lines, names, strict=True):
            for metric, value in line.metrics.items():
                # As in the board's means: capped, and without what is not finite.
                for counted in counting(metric, [value]):
                    values.setdefault(metric, {})[batch, name] = counted
    diverged = sum(lines[0].diverged for lines in batches.values())
    return Sample(cell, values, str(path), n_diverged=diverged)


def _with_costs(sample: Sample, costs: Mapping[Address, PublishedCosts] | None, table: _ImageTable) -> Sample:
    """The sample with what the board says it cost, without the metrics whose mean is not the board's."""
    if costs is None:
        return sample
    where = f"{table.path}: {sample.key} (B={sample.cell.batch_size})"
    published = costs.get(address_of(sample.cell))
    if published is None:
        table.faults.append(f"{where} has no row in the board beside it")
        return sample
    # The board's means are over all batches: without those that a fault has cost there is nothing to compare.
    is_complete = all(cell != sample.cell for cell, _ in table.lost)
    edited = _differing(sample, published) if is_complete else {}
    table.faults += [f"{where}: {text}; {metric} of it is left out" for metric, text in edited.items()]
    return replace(
        sample,
        # The board's cell, which knows the tuning too.
        cell=published.cell,
        values={metric: values for metric, values in sample.values.items() if metric not in edited},
        evaluations=published.evaluations,
        seconds=published.seconds,
        n_failed=published.n_failed,
        closed_form=published.closed_form,
    )


def _differing(sample: Sample, published: PublishedCosts) -> dict[str, str]:
    """Metric -> what is wrong, where the images' mean over batches is not the board's: a file was edited."""
    texts = {}
    for metric, expected in published.means.items():
        average = mean(list(sample.means(metric).values()))
        if average is not None and not math.isclose(average, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            texts[metric] = f"{metric} averages {average:.6g}, but {expected:.6g} in the board beside it"
    return texts
