"""What a data set must be, whoever wrote it: checked when it is made, refused in one line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradinv.benchmark.datasets.registry import DataError
from gradinv.metrics.image_size import as_image_size

if TYPE_CHECKING:
    from gradinv.benchmark.datasets.base import Split


CHANNELS = (3, 1)
"""How many an image may have: of colour, or of grey."""


def checked_labels(labels: Any) -> np.ndarray:
    """Labels as int64 (n,); DataError where they are no list of whole numbers."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise DataError(f"labels are of shape {array.shape}; give one class index an image")
    if array.size and (array.dtype.kind not in "iuf" or not np.array_equal(array, np.floor(array))):
        raise DataError(f"labels are {array.dtype}, not whole numbers; give one class index an image")
    return array.astype(np.int64)


def checked_images(array: Any, labels: np.ndarray) -> np.ndarray:
    """Images as uint8 (n, H, W, C), C = 3 or 1, for n labels; DataError for all else, with how to convert it."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"images are a {type(array).__name__}; give a NumPy array, uint8 (n, H, W, 3)")
    if array.dtype != np.uint8:
        values = f", from {array.min():g} to {array.max():g}" if array.size and array.dtype.kind in "iufb" else ""
        raise DataError(f"images are {array.dtype}{values}; give uint8 from 0 to 255, as pixels are stored")
    if array.ndim != 4 or array.shape[3] not in CHANNELS:
        channels_first = array.ndim == 4 and array.shape[1] in CHANNELS
        how = "; .transpose(0, 2, 3, 1) puts the channels last" if channels_first else ""
        raise DataError(f"images are of shape {array.shape}; give (n, height, width, 3), or 1 for grey{how}")
    if len(array) != len(labels):
        raise DataError(f"there are {len(array)} images and {len(labels)} labels; give one label an image")
    return array


def checked_classes(classes: Sequence[str]) -> list[str]:
    """The names of the classes; DataError for fewer than two, of which nothing can be told apart."""
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise DataError("classes are no list of names; give one name a class")
    if len(classes) < 2:
        raise DataError(f"there {'is 1 class' if classes else 'are no classes'}; a classifier needs two at least")
    return list(classes)


def check_split(split: Any, *, classes: int, image_shape: tuple[int, int, int]) -> None:
    """DataError unless labels lie in 0..classes-1 and images are uint8 (H, W, C) of the shape (C, H, W)."""
    if not len(split):
        raise DataError("there are no images; give each class two at least")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"labels go from {low} to {high}; with {classes} classes they lie in 0..{classes - 1}")
    _check_pixels(split, image_shape)


def _check_pixels(split: "Split", image_shape: tuple[int, int, int]) -> None:
    channels, height, width = image_shape
    # One image: an array has one shape, and files go through one decoder.
    pixels = split.pixels([0])
    if pixels.dtype != np.uint8 or pixels.shape != (1, height, width, channels):
        grey = ", and channels=1" if channels != 1 == pixels.shape[3] else ""
        raise DataError(
            f"an image is {pixels.dtype} {pixels.shape[1:]} where image_size is {as_image_size((height, width))}; "
            f"give uint8 ({height}, {width}, {channels}), or say the size that the images have{grey}"
        )
