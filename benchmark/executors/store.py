"""Records on disk: one folder a trial, written whole or not at all."""

import errno
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from gradinv.metrics.records import (
    FINISHED,
    Record,
    RecordsError,
    RunDirectory,
    checksums,
    is_newer,
    read_record,
    write_tensors,
    write_text,
)

ABANDONED_AFTER = 3600.0
"""Seconds after which an unfinished write is taken for a killed process's: a younger one may be another process's."""
_NONE: Mapping[str, Tensor] = {}


class Store:
    """The trials of a run directory, each in a folder with its record and its pictures.

    A folder whose name starts with a dot is an unfinished write. Several processes may write at once.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run

    def finished(self, trial_id: str) -> bool:
        """Whether the trial has a record that need not be made again; one that boards would refuse counts as none.

        RecordsError where a newer gradinv wrote it: run again, it would be replaced by an older one's.
        """
        record = self.read(trial_id)
        if record is None and is_newer(self.run, trial_id):
            raise RecordsError(f"{self.run.path} holds records of a newer gradinv; upgrade, or take another --out")
        return record is not None and record.state in FINISHED

    def read(self, trial_id: str) -> Record | None:
        """The trial's record, read as boards read it; None where there is none that can be read."""
        record = read_record(self.run, trial_id)
        return record if isinstance(record, Record) else None

    def read_all(self, trial_ids: Iterable[str]) -> list[Record]:
        """The records of these trials that can be read, in their order."""
        records = (self.read(trial_id) for trial_id in trial_ids)
        return [record for record in records if record is not None]

    def write(
        self, record: Record, tensors: Mapping[str, Tensor], floats: Mapping[str, Tensor] = _NONE, log: str = ""
    ) -> None:
        """Put the trial's folder in place in one rename; an older folder of the same trial that is not finished goes.

        `tensors` are its pictures, `floats`, where there are any, its images as they were scored, `log` what
        was printed meanwhile.
        """
        # A folder of its own for each write, so that two processes with one trial never write into the same one.
        unfinished = f".{record.id}-{uuid4().hex}"
        if tensors:
            write_tensors(self.run.tensors(unfinished), tensors)
        if floats:
            write_tensors(self.run.floats(unfinished), floats)
        if log:
            write_text(self.run.log(unfinished), log)
        write_text(self.run.record(unfinished), record.model_dump_json(indent=1))
        write_text(self.run.checksums(unfinished), checksums(self.run, unfinished))
        standing = self.read(record.id)
        if standing is not None and standing.state in FINISHED:
            # Another process was as quick: its record is the same, and no reader may see the trial gone for a moment.
            shutil.rmtree(self.run.trial(unfinished), ignore_errors=True)
        else:
            _put(self.run.trial(unfinished), self.run.trial(record.id))

    def clean(self) -> None:
        """Remove what killed runs left unfinished."""
        for folder in self.run.trials.glob(".*"):
            with suppress(FileNotFoundError):  # another process cleans too
                # By age: no lock would survive the kill of its owner, and none works on every network file system.
                if time.time() - folder.stat().st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`; what stands there, perhaps since a moment ago, is moved aside and removed."""
    # A loop, because between moving the old folder aside and the next rename another process may put its own there.
    while True:
        try:
            folder.rename(target)
        except OSError as error:
            # POSIX lets a folder replace an empty one only; which of the two errors it gives depends on the system.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            aside = folder.with_name(f"{folder.name}-old")
            with suppress(FileNotFoundError):
                target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            return
