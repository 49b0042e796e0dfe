"""Rows of a board run again by somebody: what came out differently, by how much, and whether the verdict turns.

And which verdicts a single batch decides.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gradinv.metrics.boards.rows import PublishedRow
from gradinv.metrics.leakage import Leakage, leakage_of
from gradinv.metrics.records import Cell, Record, Sample, controls_for, samples_of
from gradinv.metrics.typesetting import counted, digits_of, fixed, title_of

_TOLERANCE = 1e-6  # relative: of a metric in single precision
_HASHES = {"specification": "", "arm": "", "context": ""}


@dataclass(frozen=True)
class Contested:
    """A row that the records hold too: in words what came out, and whether its verdict turned."""

    row: PublishedRow
    words: str
    turns: bool


def contested(rows: Sequence[PublishedRow], published: Sequence[Sample], records: Sequence[Record]) -> list[Contested]:
    """What the records say of each of the rows that they hold; `published` are the samples of the board's images.

    Rows are told by their visible columns: weights trained on another machine have another hash. Values are compared
    over the images that both have, verdicts where the records hold every batch of the row.
    """
    again = samples_of(records, "records")
    by_cell = {_visible(sample.cell): sample for sample in again}
    first = {_visible(sample.cell): sample for sample in published}
    cells = [(row, _visible(row.cell)) for row in rows]
    return [
        _contested(row, (first[cell], published), (by_cell[cell], again))
        for row, cell in cells
        if cell in by_cell and cell in first
    ]


def _visible(cell: Cell) -> Cell:
    return cell.model_copy(update=_HASHES)


def _contested(
    row: PublishedRow, board: tuple[Sample, Sequence[Sample]], records: tuple[Sample, Sequence[Sample]]
) -> Contested:
    (sample, _), (again, _) = board, records
    repeated = _batches(again)
    held = f"{len(repeated & _batches(sample))} of its {counted(row.n_batches, 'batch')} run again"
    differences = list(_differences(sample, again)) or ["the same values"]
    verdict, turns = "", False
    if not row.cell.is_control:
        verdict, turns = _verdicts(board, records) if repeated >= _batches(sample) else ("verdict not compared", False)
    return Contested(row, "; ".join(filter(None, [held, ", ".join(differences), verdict])), turns)


def _batches(sample: Sample) -> set[int]:
    return {batch for values in sample.values.values() for batch, _ in values}


def _differences(sample: Sample, again: Sample) -> Iterator[str]:
    """`PSNR 14.3, again 14.1 (-0.2; in one image up to 1.9)`, for each metric that differs."""
    for metric, values in sample.values.items():
        others = again.values.get(metric, {})
        both = [(value, others[unit]) for unit, value in values.items() if unit in others]
        if not both:
            continue
        before, after = (math.fsum(side) / len(both) for side in zip(*both, strict=True))
        largest = max(abs(second - first) for first, second in both)
        if largest > _TOLERANCE * max(1.0, *(abs(first) for first, _ in both)):
            digits = digits_of(metric) + 1
            numbers = (fixed(number, digits) for number in (before, after, after - before, largest))
            yield "{} {}, again {} ({}; in one image up to {})".format(title_of(metric), *numbers)


def _verdicts(board: tuple[Sample, Sequence[Sample]], records: tuple[Sample, Sequence[Sample]]) -> tuple[str, bool]:
    before, after = (_leaks(leakage_of(sample, controls_for(sample, every))) for sample, every in (board, records))
    if before == after:
        return f"the same verdict: {before}", False
    return f"THE VERDICT TURNS: {before}, again {after}", True


def _leaks(leakage: Leakage) -> str:
    """What leaks from the gradient, in words."""
    if leakage.gradient is None:
        return "nothing can be said"
    return f"{' and '.join(leakage.gradient)} from the gradient" if leakage.gradient else "nothing from the gradient"


def fragile(attack: Sample, samples: Sequence[Sample]) -> str:
    """What one batch decides of the verdict on an attack; empty where none does, or where there are fewer than three.

    Each batch is left out in turn, of the attack and of its controls.
    """
    controls = controls_for(attack, samples)
    batches = sorted(_batches(attack))
    # Of two the one that is left over tells nothing: below two batches no respect is tested.
    if len(batches) < 3:
        return ""
    whole = _leaks(leakage_of(attack, controls))
    others: dict[str, list[int]] = {}
    for batch in batches:
        left = _without(batch)
        verdict = _leaks(leakage_of(left(attack), {name: left(control) for name, control in controls.items()}))
        if verdict != whole:
            others.setdefault(verdict, []).append(batch)
    turned = [f"without {_one_of(numbers)} {verdict}" for verdict, numbers in others.items()]
    return f"{whole}; {', '.join(turned)}" if turned else ""


def _one_of(batches: Sequence[int]) -> str:
    return f"batch {batches[0]}" if len(batches) == 1 else f"any of batches {', '.join(map(str, batches))}"


def _without(batch: int) -> Callable[[Sample], Sample]:
    def left(sample: Sample) -> Sample:
        values: Mapping[str, Mapping[tuple[int, str], float]] = sample.values
        kept = {metric: {u: v for u, v in of_metric.items() if u[0] != batch} for metric, of_metric in values.items()}
        return replace(sample, values=kept)

    return left
