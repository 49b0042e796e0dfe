"""Samples: what one attack or control reached in one setting, image by image; made from records or from a board."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gradinv.metrics.images import counting
from gradinv.metrics.records.cells import Address, address_of, controls_of
from gradinv.metrics.records.reading import mean, trials_by_cell
from gradinv.metrics.records.record import CLOSED_FORM, LOST, Cell, ImageScore, Record

Unit = tuple[int, str]
"""A batch and an image of it; the image is empty for what is measured once a batch."""
Values = Mapping[Unit, float]


@dataclass(frozen=True)
class Sample:
    """The values of one cell, by metric, with what they cost; `evaluations` and `seconds` are means over batches.

    `closed_form`: the attack solved for the images in every batch, and has no use for more evaluations.
    """

    cell: Cell
    values: Mapping[str, Values]
    source: str
    evaluations: float | None = None
    seconds: float | None = None
    n_failed: int = 0
    n_diverged: int = 0
    closed_form: bool = False

    @property
    def key(self) -> str:
        """The cell's key."""
        return self.cell.key

    @property
    def is_control(self) -> bool:
        """Whether the cell is a control's."""
        return self.cell.is_control

    def means(self, metric: str) -> dict[int, float]:
        """Batch -> mean over its images."""
        batches: dict[int, list[float]] = {}
        for (batch, _), value in self.values.get(metric, {}).items():
            batches.setdefault(batch, []).append(value)
        return {batch: math.fsum(values) / len(values) for batch, values in batches.items()}


def sample_means_by_images(sample: Sample, metric: str) -> dict[tuple[int, tuple[str, ...]], float]:
    """Batch and names of its images -> mean over them, for what is paired with other samples."""
    images: dict[int, list[str]] = {}
    for batch, image in sample.values.get(metric, {}):
        images.setdefault(batch, []).append(image)
    return {(batch, tuple(sorted(images[batch]))): value for batch, value in sample.means(metric).items()}


def samples_of(records: Iterable[Record], source: str) -> list[Sample]:
    """The samples of all cells; `source` is said where they come from.

    Diverged trials are scored on their best finite iterate and count; failed ones have no values and are counted.
    """
    return [sample_of(trials, source) for trials in trials_by_cell(records).values()]


def sample_of(trials: Sequence[Record], source: str) -> Sample:
    """The sample of one cell's trials, of which there is one at least."""
    scored = [trial for trial in trials if trial.is_scored]
    values: dict[str, dict[Unit, float]] = {}
    for trial in scored:
        names = ["", *numbered(image.image for image in trial.images)]
        holders: list[Record | ImageScore] = [trial, *trial.images]  # what is measured of the batch, then of its images
        for name, holder in zip(names, holders, strict=True):
            for metric, value in holder.metrics.items():
                for counted in counting(metric, [value]):
                    values.setdefault(metric, {})[trial.repetition, name] = counted
    return Sample(
        cell=trials[0].cell,
        values=values,
        source=source,
        evaluations=mean([trial.evaluations for trial in scored]),
        seconds=mean([trial.seconds for trial in scored]),
        n_failed=sum(trial.state in LOST for trial in trials),
        n_diverged=sum(trial.state == "diverged" for trial in scored),
        closed_form=bool(scored) and all(trial.stopped == CLOSED_FORM for trial in scored),
    )


def numbered(hashes: Iterable[str]) -> list[str]:
    """The images' names within a batch: an image that occurs again gets a number.

    >>> numbered(["a", "b", "a"])
    ['a', 'b', 'a#2']
    """
    seen: Counter[str] = Counter()
    names = []
    for image in hashes:
        seen[image] += 1
        names.append(image if seen[image] == 1 else f"{image}#{seen[image]}")
    return names


def controls_for(attack: Sample, samples: Iterable[Sample]) -> dict[str, Sample]:
    """Name -> control that an attack is compared with, of those that are among the samples."""
    by_cell = {sample.cell: sample for sample in samples}
    return {control.attack: by_cell[control] for control in controls_of(attack.cell, by_cell)}


def pooled(sources: Iterable[Iterable[Sample]]) -> list[Sample]:
    """The samples of all sources; of several of one cell the first source's counts, so records come before boards."""
    by_address: dict[Address, Sample] = {}
    for source in sources:
        for sample in source:
            by_address.setdefault(address_of(sample.cell), sample)
    return list(by_address.values())
