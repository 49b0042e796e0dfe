"""Who is told how a run goes on, beside the console: one small protocol, and TensorBoard as the one that is shipped."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from safetensors.torch import load_file

from gradinv.metrics.records import Record, RunDirectory, mean, short_name
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Watcher(Protocol):
    """What a run tells of itself, in the process that was started, trial by trial as they end.

    A trial is told as a whole: its curve and the terms of its objective are in the record. To call back at every step
    would make worker processes wait for each other and GPUs for the host.
    """

    def run_started(self, awaited: int) -> None:
        """So many trials are missing and will be run."""
        ...

    def trial_ended(self, record: Record) -> None:
        """A trial has ended, in whatever state; its record and pictures are on disk."""
        ...

    def run_ended(self) -> None:
        """No trial will follow, because all are done or because the run was stopped."""
        ...


def watched(records: Iterable[Record], watchers: Sequence[Watcher], awaited: int) -> Iterator[Record]:
    """The records as they come, after each watcher was told."""
    for watcher in watchers:
        watcher.run_started(awaited)
    try:
        for record in records:
            for watcher in watchers:
                watcher.trial_ended(record)
            yield record
    finally:
        for watcher in watchers:
            watcher.run_ended()


class TensorBoard:
    """Objective and its terms over evaluations, PSNR on the way, scores and pictures, one TensorBoard run a trial.

    They lie in the run directory's `tensorboard` folder. RequestError where the extra is missing.
    """

    def __init__(self, run: RunDirectory) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RequestError("--tensorboard needs its writer: pip install 'gradinv[tensorboard]'") from error
        self._run, self._writer = run, SummaryWriter

    def run_started(self, awaited: int) -> None:
        """Nothing is written before a trial has ended."""

    def trial_ended(self, record: Record) -> None:
        """Write what the record holds of its descent, and its pictures."""
        if not record.is_scored:
            return
        with self._writer(str(self._run.tensorboard / _name(record))) as writer:
            for tag, step, value in _scalars(record):
                writer.add_scalar(tag, value, step)
            self._add_pictures(writer, record)

    def run_ended(self) -> None:
        """Every trial's file was closed when the trial had ended."""

    def _add_pictures(self, writer: "SummaryWriter", record: Record) -> None:
        pictures = load_file(self._run.tensors(record.id))
        for name in ("original", "reconstruction"):
            writer.add_images(name, pictures[name], record.evaluations)


def _name(record: Record) -> str:
    """A folder's name that tells the trial and is safe everywhere; the id tells apart what looks alike."""
    cell = record.cell
    words = f"{cell.victim} {cell.defense} B{cell.batch_size} {cell.key} batch {record.repetition} {record.id}"
    return short_name(re.sub(r"[^\w.=+]+", "_", words))


def _scalars(record: Record) -> Iterator[tuple[str, int, float]]:
    """(tag, evaluations, value) of everything in a record that has a place on that axis."""
    for place, (evaluations, value) in enumerate(record.curve):
        yield "objective", evaluations, value
        yield from ((f"terms/{name}", evaluations, values[place]) for name, values in record.terms.items())
    for name, values in (("psnr", record.snapshot_psnr), ("identity_lowpass", record.snapshot_identity)):
        # None where the metric was not asked for, or there are no snapshots.
        yield from (
            (f"way/{name}", at, value) for at, value in zip(record.snapshots if values else (), values, strict=True)
        )
    for metric in record.images[0].metrics if record.images else ():
        average = mean([image.metrics[metric] for image in record.images if metric in image.metrics])
        if average is not None:
            yield f"scores/{metric}", record.evaluations, average
