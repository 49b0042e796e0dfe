"""Samples: what one attack or control reached in one setting, image by image; made from records or from a board."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradinv.metrics.images.facts import counting
from gradinv.metrics.records.reading import mean, trials_by_cell
from gradinv.metrics.records.record import Record
from gradinv.metrics.records.settings import setting_of

Unit = tuple[int, str]
"""A batch and an image of it; the image is empty for what is measured once a batch."""
Values = Mapping[Unit, float]


@dataclass(frozen=True)
class Sample:
    """The values of one key in one setting, by metric, with what they cost; `evaluations` is the mean over batches."""

    key: str
    is_control: bool
    setting: Mapping[str, Any]
    values: Mapping[str, Values]
    source: str
    evaluations: float | None = None
    seconds: float | None = None
    n_failed: int = 0
    n_diverged: int = 0

    @property
    def place(self) -> tuple[Any, ...]:
        """What tells samples apart: the key and everything of the setting."""
        return self.key, *self.setting.values()

    def means(self, metric: str) -> dict[int, float]:
        """Batch -> mean over its images."""
        batches: dict[int, list[float]] = {}
        for (batch, _), value in self.values.get(metric, {}).items():
            batches.setdefault(batch, []).append(value)
        return {batch: math.fsum(values) / len(values) for batch, values in batches.items()}


def samples_of(records: Iterable[Record], source: str) -> list[Sample]:
    """The samples of all cells; `source` is said where they come from.

    Diverged trials are scored on their best finite iterate and count; failed ones have no values and are counted.
    """
    return [_sample(trials, source) for trials in trials_by_cell(records).values()]


def _sample(trials: Sequence[Record], source: str) -> Sample:
    cell = trials[0].cell
    scored = [trial for trial in trials if trial.is_scored]
    values: dict[str, dict[Unit, float]] = {}
    for trial in scored:
        names = numbered(image.image for image in trial.images)
        for image, name in zip(trial.images, names, strict=True):
            for metric, value in image.metrics.items():
                for counted in counting(metric, [value]):
                    values.setdefault(metric, {})[trial.repetition, name] = counted
        if trial.label_accuracy is not None:
            values.setdefault("label_accuracy", {})[trial.repetition, ""] = trial.label_accuracy
    return Sample(
        key=cell.key,
        is_control=cell.is_control,
        setting=setting_of(cell),
        values=values,
        source=source,
        evaluations=mean([trial.evaluations for trial in scored]),
        seconds=mean([trial.seconds for trial in scored]),
        n_failed=sum(trial.state in ("failed", "oom") for trial in trials),
        n_diverged=sum(trial.state == "diverged" for trial in scored),
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


def controls_for(sample: Sample, samples: Iterable[Sample]) -> dict[str, Sample]:
    """Name -> control that `sample` is compared with: of its setting, and of its key or of every attack."""
    place = sample.place[1:]
    controls = (other for other in samples if other.is_control and other.place[1:] == place)
    named = ((*other.key.partition(" of "), other) for other in controls)
    return {name: other for name, _, key, other in named if key in ("", sample.key)}


def pooled(sources: Iterable[Iterable[Sample]]) -> list[Sample]:
    """The samples of all sources; of several in one place the first source's counts, so records come before boards."""
    found: dict[tuple[Any, ...], Sample] = {}
    for sample in (sample for source in sources for sample in source):
        found.setdefault((sample.is_control, *sample.place), sample)
    return list(found.values())
