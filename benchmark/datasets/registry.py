"""Data sets by name: registered ones and image folders under the data root; listing their names imports no torch.

A stranger imports `create_dataset`, `dataset_names`, `register_dataset` and `DataError` from this package, `Dataset`
and `Split` from `base`, `draw_batch` from `batches`. A new data set is one file that registers a function.
"""

import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradinv.benchmark.datasets.obtainable import hint
from gradinv.benchmark.machine import data_root
from gradinv.metrics.image_size import ImageSize, as_image_size, sides
from gradinv.metrics.registry import Registry, RequestError, UnknownNameError, natural_key, unknown

if TYPE_CHECKING:
    from gradinv.benchmark.datasets.base import Dataset

HELD_OUT_FOLDERS = ("test", "val", "valid", "validation")
"""Names of the folder that an image folder's tuning and evaluation images come from: the first that is there."""

LARGEST_IMAGE_SIZE = 1024
"""Pixels a side; no attack recovers anything of larger images, and a batch of them fills any memory."""


class DataError(RequestError):
    """Data that are missing, malformed or too few; its text is one line that says what is wrong and how to mend it."""


DATASETS: Registry[Callable[..., "Dataset"]] = Registry(
    "data set", package="gradinv.benchmark.datasets", decorator="register_dataset", group="gradinv.datasets"
)


def register_dataset(name: str, **metadata: Any) -> Callable[[Callable[..., "Dataset"]], Callable[..., "Dataset"]]:
    """Decorator for a function `(image_size: ImageSize | None, *, download: bool) -> Dataset`.

    An image size is a number of pixels, or `64x80` (height, width); `sides` makes two numbers of both.
    `lies_elsewhere=True` says that the data set reads no folder of its own name: an image folder of that name is then
    refused, and never passed over in favour of this one. Raises InvalidEntryError where another function has the name.
    """
    return DATASETS.register(name, **metadata)


def checked_image_size(value: Any, least: int = 1) -> ImageSize:
    """The size of a number or a pair (height, width), in pixels; DataError for anything else, or beyond reason."""
    try:
        size = as_image_size(value)
        is_usual = all(least <= side <= LARGEST_IMAGE_SIZE for side in sides(size))
    except ValueError:
        is_usual = False
    if not is_usual:
        raise DataError(
            f"image_size {value} is no number of pixels in {least}..{LARGEST_IMAGE_SIZE}, and no height "
            "and width of such, as in 64x80; choose one"
        )
    return size


def raised(error: Exception) -> str:
    """An exception in one line: its type and text, and the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{place}".split())


def folder_names() -> list[str]:
    """Names of the image folders under the data root: those that hold a folder of held-out images."""
    root = data_root()
    if not root.is_dir():
        return []
    try:
        return sorted((path.name for path in root.iterdir() if _is_image_folder(path)), key=natural_key)
    except OSError as error:
        raise DataError(f"{root} cannot be read ({error.strerror}); set GRADINV_DATA to a folder that can") from error


def _is_image_folder(folder: Path) -> bool:
    return any(os.path.isdir(folder / split) for split in HELD_OUT_FOLDERS)


def dataset_names() -> list[str]:
    """Registered data sets and image folders under the data root, in natural order."""
    return sorted({*DATASETS.names(), *folder_names()}, key=natural_key)


def create_dataset(
    name: str, image_size: ImageSize | Sequence[int] | None = None, *, download: bool = False
) -> "Dataset":
    """The data set of that name, its images of one size: a number, (height, width) or `64x80`; their own where None.

    A registered name goes before an image folder of the same name. Nothing is downloaded unless `download` is set.
    Raises UnknownNameError with the nearest names, DataError where files are missing or malformed and where the data
    set is not what it must be.
    """
    size = None if image_size is None else checked_image_size(image_size)
    folder = data_root() / name
    if name in DATASETS.names():
        return _registered(name, size, download, folder)
    # A name is no path: whatever lies elsewhere on the disk is no data set.
    if name and Path(name).name == name != ".." and os.path.isdir(folder):
        # Imported when it is needed: whoever only lists names does not wait for torch.
        from gradinv.benchmark.datasets.folder import folder_dataset

        return folder_dataset(folder, size)
    reason = unknown("data set", name, dataset_names())
    raise UnknownNameError(f"{reason} (image folders are looked for in {data_root()}; set GRADINV_DATA){hint(name)}")


def _registered(name: str, image_size: ImageSize | None, download: bool, folder: Path) -> "Dataset":
    """The registered data set; DataError where what its function gave is none, or not the one that was asked for."""
    from gradinv.benchmark.datasets.base import Dataset

    entry = DATASETS.get(name)
    if entry.metadata.get("lies_elsewhere") and _is_image_folder(folder):
        raise DataError(f"{name} is a data set of gradinv's own and not {folder}; rename that folder, or move it")
    try:
        dataset = entry.target(image_size, download=download)
    except RequestError:
        raise
    except Exception as error:  # anybody's code
        raise DataError(f"data set {name} cannot be made: {raised(error)}") from error
    if not isinstance(dataset, Dataset):
        raise DataError(f"data set {name}: its function returned {type(dataset).__name__}; return a Dataset")
    if dataset.name != name:
        raise DataError(f"data set {name} calls itself {dataset.name}; give its Dataset the registered name")
    if image_size not in (None, dataset.image_size):
        raise DataError(f"data set {name} has images of {dataset.image_size} pixels only, not of {image_size}")
    return dataset
