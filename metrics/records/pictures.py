"""Pictures on disk: the tensors beside a record, which of them are shown, and PNG files named by what they show."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.record import Record

IMAGES_SHOWN = 8
"""How many images a page or a sheet shows of a setting: the first ones, never chosen ones."""
SPREAD_GAIN = 4
"""What the spread of the agents is multiplied by, so that the eye sees it."""
_KEPT = 64  # trials whose tensors stay in memory: the batches that a page shows


class BatchSlot(NamedTuple):
    """An image by its batch and its slot there."""

    batch: int
    slot: int


def first_images(trials: Iterable[Record]) -> list[BatchSlot]:
    """The first images, in batch order, that any of the trials has."""
    images = {BatchSlot(trial.repetition, image.slot) for trial in trials for image in trial.images}
    return sorted(images)[:IMAGES_SHOWN]


def shown_tensors(trials: Iterable[Record]) -> list[str]:
    """Names of the tensors that a page shows of one cell: what its agents agreed on only where it has several."""
    has_agents = any("agent_spread" in image.details for trial in trials for image in trial.images)
    return ["reconstruction", "consensus", "spread"] if has_agents else ["reconstruction"]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a trial, uint8; none where the file is missing or broken: a board needs no pictures.

    Of a file that somebody else wrote only what are pictures: (B, C, H, W), or (S, B, C, H, W) for `snapshots`.
    """
    if not path.is_file():
        return {}
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # the last: of types that NumPy lacks
        return {}
    return {name: tensor for name, tensor in tensors.items() if _are_pictures(name, tensor)}


def _are_pictures(name: str, tensor: np.ndarray) -> bool:
    rank = 5 if name == "snapshots" else 4
    return tensor.dtype == np.uint8 and tensor.ndim == rank and tensor.shape[-3] in (1, 3) and tensor.size > 0


class Pictures:
    """The pictures of the trials in some run directories, uint8; each file is read once for what is shown together."""

    def __init__(self, runs: Sequence[Path]) -> None:
        self._runs = [RunDirectory(run) for run in runs]
        # A cache of this object: one on the method would keep every object and all its pictures alive.
        self._read = lru_cache(_KEPT)(self._tensors)

    def _tensors(self, trial: str) -> dict[str, np.ndarray]:
        """The tensors of the first run directory that has any: another may hold the same trial without its pictures."""
        for run in self._runs:
            tensors = read_tensors(run.tensors(trial))
            if tensors:
                return {name: _in_colour(value) for name, value in tensors.items()}
        return {}

    def get(self, trial: Record, name: str, slot: int) -> np.ndarray | None:
        """One picture (3, H, W), the `spread` times its gain; None where it is not on disk."""
        images = self._read(trial.id).get(name)
        if images is None or slot >= len(images):
            return None
        return _amplified(images[slot], SPREAD_GAIN) if name == "spread" else images[slot]

    def snapshots(self, trial: Record, slot: int) -> list[np.ndarray]:
        """One image's snapshots, in the order of the evaluations; none where they are not on disk."""
        steps = self._read(trial.id).get("snapshots")
        return [] if steps is None or slot >= steps.shape[1] else [step[slot] for step in steps]


def _in_colour(pictures: np.ndarray) -> np.ndarray:
    # Whoever shows them need not know of grey ones, which matplotlib would paint in colours of its own.
    grey = pictures.ndim > 2 and pictures.shape[-3] == 1
    return np.repeat(pictures, 3, axis=-3) if grey else pictures


def _amplified(picture: np.ndarray, gain: int) -> np.ndarray:
    # In 16 bits: uint8 would wrap around instead of reaching white.
    return np.minimum(picture.astype(np.uint16) * gain, 255).astype(np.uint8)


class PictureFolder:
    """Writes pictures as PNG files into a folder, each picture once."""

    def __init__(self, pictures: Pictures, folder: Path) -> None:
        self._pictures, self._folder = pictures, folder
        self._written: set[str] = set()

    def picture(self, trial: Record, name: str, slot: int) -> str:
        """The file name of one picture; empty where it is not on disk."""
        picture = self._pictures.get(trial, name, slot)
        return "" if picture is None else self._write(picture)

    def snapshots(self, trial: Record, slot: int) -> list[str]:
        """The file names of one image's snapshots, in the order of the evaluations; none where they are not on disk."""
        return [self._write(picture) for picture in self._pictures.snapshots(trial, slot)]

    def _write(self, picture: np.ndarray) -> str:
        pixels = np.ascontiguousarray(picture.transpose(1, 2, 0))
        # Named by its content: the same original in several rows is one file, and the same records give the same names.
        name = f"{hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]}.png"
        if name not in self._written:
            self._folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(self._folder / name, "PNG")
            self._written.add(name)
        return name
