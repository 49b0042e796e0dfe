"""Pictures on disk: the tensors beside a record, and PNG files named by what they show."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from gradinv.metrics.records.record import Record
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

_KEPT = 64  # trials whose tensors stay in memory: the batches that a page shows


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a trial, uint8; none where the file is missing or broken: a board needs no pictures."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return {}


class PictureFolder:
    """Writes pictures of the trials of `runs` as PNG files into a folder, each picture once."""

    def __init__(self, runs: Sequence[Path], folder: Path) -> None:
        self._runs, self._folder = tuple(runs), folder
        self._written: set[str] = set()
        self._read = lru_cache(_KEPT)(self._tensors)

    def _tensors(self, trial: str) -> dict[str, np.ndarray]:
        paths = (run / "trials" / trial / "tensors.safetensors" for run in self._runs)
        return next((found for path in paths if path.is_file() and (found := read_tensors(path))), {})

    def picture(self, trial: Record, name: str, slot: int, gain: int = 1) -> str:
        """The file name of one picture, its values times `gain`; empty where it is not on disk."""
        images = self._read(trial.id).get(name)
        return "" if images is None or slot >= len(images) else self._write(images[slot], gain)

    def snapshots(self, trial: Record, slot: int) -> list[str]:
        """The file names of one image's snapshots, in the order of the evaluations; none where they are not on disk."""
        steps = self._read(trial.id).get("snapshots")
        return [] if steps is None or slot >= steps.shape[1] else [self._write(step[slot]) for step in steps]

    def _write(self, picture: np.ndarray, gain: int = 1) -> str:
        pixels = np.minimum(picture.astype(np.uint16) * gain, 255).astype(np.uint8).transpose(1, 2, 0)
        name = f"{hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]}.png"
        if name not in self._written:
            self._folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(self._folder / name, "PNG")
            self._written.add(name)
        return name
