"""Records from disk, put into the groups that tables and pictures are made of."""

import gc
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gradinv.metrics.images.facts import counting
from gradinv.metrics.records.additions import with_additions
from gradinv.metrics.records.record import FINISHED, SCHEMA, Cell, Record
from gradinv.metrics.registry import RequestError
from pydantic import ValidationError

MEND = "delete the folder and run the suite again"


class RecordsError(RequestError):
    """A directory that holds no trials; its text is one line that says which and what to do."""


def read_records(directories: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """All records of the run directories, sorted by suite and order, and one line for each folder that holds none.

    A trial found in several directories counts once. Folders whose name starts with a dot are unfinished writes and
    are passed over. Raises RecordsError for a directory without trials.
    """
    found: dict[str, Record] = {}
    faults: list[str] = []
    folders = [folder for directory in directories for folder in trial_folders(directory)]
    with _collector_paused():
        for record in map(_read, folders):
            if isinstance(record, str):
                faults.append(record)
            elif record.id in found:
                found[record.id] = max(found[record.id], record, key=_preference)
            else:
                found[record.id] = record
    return sorted(found.values(), key=position), sorted(set(faults))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection: of thousands of new records, all kept, it would find none and take half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def trial_folders(directory: Path) -> list[Path]:
    """The folders of `directory/trials`, one a trial, sorted; RecordsError where there is none."""
    trials = directory / "trials"
    try:
        with os.scandir(trials) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        names = []
    if not names:
        raise RecordsError(f"{directory} holds no trials; give the directory that `gradinv run --out` wrote")
    return [trials / name for name in names]


def position(record: Record) -> tuple[str, int, int, str]:
    """Sort key: where the record stands in its suite."""
    return record.suite, record.order, record.repetition, record.id


def _preference(record: Record) -> tuple[bool, str, str]:
    """Of two records of one trial the finished one counts, then the later one; the text decides the rest."""
    return record.state in FINISHED, record.date, record.model_dump_json()


def _read(folder: Path) -> Record | str:
    """The record in a trial's folder, or one line that says why there is none and how to mend it."""
    path = folder / "record.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); {MEND}"
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        return _diagnosis(path, text, error)
    if record.schema_version > SCHEMA:
        return _newer(path, record.schema_version)
    if record.id != folder.name:
        return f"{path}: is the record of another trial, {record.id}; {MEND}"
    try:
        return with_additions(record, folder)
    except ValueError as error:
        return str(error)


def _diagnosis(path: Path, text: bytes, error: ValidationError) -> str:
    try:
        content = json.loads(text)
    except ValueError as fault:
        return f"{path}: is no valid JSON ({fault}); {MEND}"
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        return _newer(path, version)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "record"
    return f"{path}: is no record of gradinv ({where}: {first['msg']}); {MEND}"


def _newer(path: Path, version: int) -> str:
    return f"{path}: was written by a newer gradinv (schema {version}, known up to {SCHEMA}); upgrade, or {MEND}"


def trials_by_cell(records: Iterable[Record]) -> dict[Cell, list[Record]]:
    """The trials of each cell in the order of their batches, cells in the order of their first trial.

    Where a cell has several trials of one batch (a plug-in was edited, a budget changed), the latest counts.
    """
    groups: dict[Cell, dict[int, Record]] = {}
    for record in sorted(records, key=position):
        trials = groups.setdefault(record.cell, {})
        known = trials.get(record.repetition, record)
        trials[record.repetition] = max(known, record, key=lambda trial: (trial.date, trial.id))
    return {cell: [trials[repetition] for repetition in sorted(trials)] for cell, trials in groups.items()}


def controls_of(cell: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """The controls that `cell` is compared with: of equal setting, and of this attack or of every attack."""
    presets, setting = ("", cell.key), cell.setting
    return [other for other in cells if other.is_control and other.preset in presets and other.setting == setting]


def metric_names(records: Iterable[Record]) -> list[str]:
    """Names of all per-image metrics that occur in the records, sorted."""
    return sorted({name for record in records for image in record.images for name in image.metrics})


def batch_values(record: Record, metric: str) -> list[float]:
    """The measured values of one trial, one per image (for `label_accuracy` one in all), as they count in means.

    A value above the metric's cap, infinity included, counts as the cap (100 dB for PSNR). NaN is not measured, nor is
    the infinity of a metric without cap.
    """
    if metric == "label_accuracy":
        return [] if record.label_accuracy is None else [record.label_accuracy]
    return counting(metric, (image.metrics[metric] for image in record.images if metric in image.metrics))


def batch_mean(record: Record, metric: str) -> float | None:
    """Mean over the images of one trial; None where the trial was not scored or the metric not measured."""
    return mean(batch_values(record, metric)) if record.is_scored else None


def batch_means(trials: Iterable[Record], metric: str) -> dict[int, float]:
    """Repetition -> mean over the images, for the trials where the metric was measured."""
    means = {trial.repetition: batch_mean(trial, metric) for trial in trials}
    return {repetition: value for repetition, value in means.items() if value is not None}


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean, the same on every machine whatever the order; None for no values.

    >>> mean([0.1] * 10), mean([])
    (0.1, None)
    """
    return math.fsum(values) / len(values) if values else None
