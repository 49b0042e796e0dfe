"""Records on disk: one folder a trial, written whole or not at all."""

import errno
import shutil
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from gradinv.metrics.records.record import FINISHED, Record
from safetensors.torch import save_file
from torch import Tensor

ABANDONED_AFTER = 3600.0
"""Seconds after which an unfinished write is taken for a killed process's: a younger one may be another process's."""


class Store:
    """The run directory: `trials/<id>/record.json` and `tensors.safetensors`.

    A folder whose name starts with a dot is an unfinished write. Several processes may write at once.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trials = directory / "trials"

    def finished(self, trial_id: str) -> bool:
        """Whether the trial has a record that need not be made again; a broken record counts as none."""
        record = self.read(trial_id)
        return record is not None and record.state in FINISHED

    def read(self, trial_id: str) -> Record | None:
        """The trial's record; None where there is none that can be read."""
        try:
            return Record.model_validate_json((self.trials / trial_id / "record.json").read_bytes())
        except (OSError, ValueError):  # pydantic's ValidationError is a ValueError
            return None

    def write(self, record: Record, tensors: dict[str, Tensor]) -> None:
        """Put the trial's folder in place in one rename; an older folder of the same trial is replaced."""
        folder = self.trials / f".{record.id}-{uuid4().hex}"
        folder.mkdir(parents=True)
        if tensors:
            save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "tensors.safetensors")
        (folder / "record.json").write_text(record.model_dump_json(indent=1), encoding="utf-8")
        _put(folder, self.trials / record.id)

    def clean(self) -> None:
        """Remove what killed runs left unfinished."""
        for folder in self.trials.glob(".*"):
            with suppress(FileNotFoundError):  # another process cleans too
                if time.time() - folder.stat().st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`; what stands there, perhaps since a moment ago, is moved aside and removed."""
    while True:
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            aside = folder.with_name(f"{folder.name}-old")
            with suppress(FileNotFoundError):
                target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            return
