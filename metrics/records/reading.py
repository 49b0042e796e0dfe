"""Records from disk, put into the groups that tables and pictures are made of."""

import gc
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from gradinv.metrics.images import counting
from gradinv.metrics.records.additions import with_additions
from gradinv.metrics.records.files import read_file
from gradinv.metrics.records.layout import RECORD_NAME, RunDirectory, trial_ids
from gradinv.metrics.records.plugins import recall
from gradinv.metrics.records.record import FINISHED, SCHEMA, Cell, ImageScore, Record
from gradinv.metrics.records.validation import checksum_line, disagreement
from gradinv.metrics.registry import RequestError

FIRST_WITH_CHECKSUMS = 3
"""Schema of records from which on a trial has checksums beside it."""
MEND = "delete the folder and run the suite again"


class RecordsError(RequestError):
    """A directory that holds no trials; its text is one line that says which and what to do."""


def read_records(directories: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """All records of the run directories, sorted by suite and order, and one line for each folder that holds none.

    A trial found in several directories counts once. Folders whose name starts with a dot are unfinished writes and
    are passed over. Raises RecordsError for a directory without trials.
    """
    copies: dict[str, list[tuple[RunDirectory, Record]]] = {}
    runs = list(map(RunDirectory, directories))
    trials = [(run, trial) for run in runs for trial in _trials_of(run)]
    faults = [fault for run in runs if (fault := _recalled(run))]
    with _collector_paused():
        for run, trial in trials:
            record = read_record(run, trial)
            if isinstance(record, str):
                faults.append(record)
            else:
                copies.setdefault(record.id, []).append((run, record))
    chosen = [_chosen(of_trial) for of_trial in copies.values()]
    faults += [fault for fault in chosen if isinstance(fault, str)]
    records = [record for record in chosen if isinstance(record, Record)]
    return sorted(records, key=position), sorted(set(faults))


def _recalled(run: RunDirectory) -> str:
    """Know the metrics of the run's plug-ins from now on; a line where what is remembered of them is broken."""
    try:
        recall(run)
    except ValueError as error:
        return str(error)
    return ""


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


def _trials_of(run: RunDirectory) -> list[str]:
    """The trials of a run directory, sorted; RecordsError where there is none."""
    ids = trial_ids(run)
    if not ids:
        raise RecordsError(f"{run.path} holds no trials; give the directory that `gradinv run --out` wrote")
    return ids


def position(record: Record) -> tuple[str, int, int, str]:
    """Sort key: where the record stands in its suite."""
    return record.suite, record.order, record.repetition, record.id


def _chosen(copies: Sequence[tuple[RunDirectory, Record]]) -> Record | str:
    """The record of a trial that lies in one or more places, or why none of them counts.

    A finished one goes before one that has to be run again. Finished ones must have measured the same: which of two
    results to believe is not for a clock to say.
    """
    # Of several that are unfinished any will do: the suite runs the trial again.
    finished = [(run, record) for run, record in copies if record.state in FINISHED] or copies[:1]
    (run, record), *others = finished
    for other_run, copy in others:
        if _measured(copy) != _measured(record):
            places = f"{run.record(record.id)} and {other_run.record(record.id)}"
            return f"{places}: two results of one trial, and none of them counts; remove one of them"
    return record


def _measured(record: Record) -> str:
    """What two runs of one trial must have in common on one machine."""
    # The specification is equal anyway, by the id, but for the suite that asked for it.
    of_the_run = {"suite", "order", "spec", "seconds", "peak_memory_mb", "device", "versions", "date", "notes"}
    return record.model_dump_json(exclude=of_the_run)


def read_record(run: RunDirectory, trial: str) -> Record | str:
    """The record of a trial, or one line that says why there is none and how to mend it."""
    path = run.record(trial)
    try:
        text = read_file(path)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); {MEND}"
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        return _diagnosis(path, text, error)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:  # of an older schema that is none
        return f"{path}: is no record of gradinv ({error}); {MEND}"
    if record.schema_version > SCHEMA:
        return _newer(path, record.schema_version)
    if record.id != trial:  # a folder was copied or renamed by hand
        return f"{path}: is the record of another trial, {record.id}; {MEND}"
    wrong = _altered(run, trial, text) or disagreement(record)
    if wrong:
        return f"{path}: {wrong}; {MEND}"
    try:
        return with_additions(record, run.additions(trial))
    except ValueError as error:
        return str(error)


def is_newer(run: RunDirectory, trial: str) -> bool:
    """Whether a trial's record was written by a newer gradinv, which this one can neither read nor should replace."""
    try:
        return _schema_of(read_file(run.record(trial))) > SCHEMA
    except (OSError, ValueError, AttributeError, RecursionError):  # no JSON object: broken, and of no version
        return False


def _altered(run: RunDirectory, trial: str, text: bytes) -> str:
    """What is not as the run left it; empty where all is, and for trials from before checksums were kept."""
    path = run.checksums(trial)
    try:
        # The record alone: to hash the pictures too, which no number is made of here, would make every listing slow.
        lines = read_file(path).decode(errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return "" if _schema_of(text) < FIRST_WITH_CHECKSUMS else f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return "" if checksum_line(RECORD_NAME, text) in lines else f"{path.name} does not fit it"


def _schema_of(text: bytes) -> int:
    # The record in memory is of the present schema, whatever the file says.
    version = json.loads(text).get("schema_version", 1)
    return version if isinstance(version, int) else SCHEMA


def _diagnosis(path: Path, text: bytes, error: ValidationError) -> str:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as fault:  # numbers of thousands of digits, lists in lists in lists
        return f"{path}: is no valid JSON ({fault}); {MEND}"
    # A newer schema has fields that are refused as unknown: that it is newer is the reason worth saying.
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        return _newer(path, version)
    first = error.errors()[0]  # the others mostly follow from it
    where = ".".join(str(part) for part in first["loc"]) or "record"
    return f"{path}: is no record of gradinv ({where}: {first['msg']}); {MEND}"


def _newer(path: Path, version: int) -> str:
    return f"{path}: was written by a newer gradinv (schema {version}, known up to {SCHEMA}); upgrade, or {MEND}"


def trials_by_cell(records: Iterable[Record]) -> dict[Cell, list[Record]]:
    """The trials of each cell in the order of their batches, cells in the order of their first trial.

    A cell is one specification, so that it has one trial of a batch: what was run again with an edited plug-in or
    another budget is a cell of its own.
    """
    groups: dict[Cell, dict[int, Record]] = {}
    for record in sorted(records, key=position):
        groups.setdefault(record.cell, {}).setdefault(record.repetition, record)
    return {cell: [trials[repetition] for repetition in sorted(trials)] for cell, trials in groups.items()}


def image_metrics(records: Iterable[Record]) -> list[str]:
    """Names of all metrics of an image that occur in the records, sorted."""
    images = (image for record in records for image in record.images)
    return sorted({name for image in images for name in image.metrics})


def metric_names(records: Sequence[Record]) -> list[str]:
    """Names of all metrics that occur in the records, of an image or of a batch, sorted."""
    return sorted({*image_metrics(records), *(name for record in records for name in record.metrics)})


def batch_values(record: Record, metric: str) -> list[float]:
    """The measured values of one trial as they count in means: one for each image, or one for the batch.

    A value above the metric's cap, infinity included, counts as the cap (100 dB for PSNR). NaN is not measured, nor is
    the infinity of a metric without cap.
    """
    # Both are looked through, as no name stands in both: a metric is registered once, per image or per batch.
    holders: list[Record | ImageScore] = [record, *record.images]
    values = [holder.metrics[metric] for holder in holders if metric in holder.metrics]
    return counting(metric, values) if values else []  # mostly none: a board has more metrics than a suite measures


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
    return math.fsum(values) / len(values) if values else None  # fsum rounds once, so no order of adding matters
