"""Records on disk: one folder a trial, written whole or not at all."""

import os
import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from metrics.record import FINISHED, Record


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
        folder = self.trials / f".{record.id}-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if tensors:
            save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "tensors.safetensors")
        (folder / "record.json").write_text(record.model_dump_json(indent=1), encoding="utf-8")
        target = self.trials / record.id
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)

    def clean(self) -> None:
        """Remove what killed runs left unfinished."""
        for folder in self.trials.glob(".*"):
            shutil.rmtree(folder, ignore_errors=True)
