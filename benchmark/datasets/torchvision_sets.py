"""CIFAR-10, CIFAR-100 and ImageNet, read by torchvision's own classes below the data root.

About pickles: the CIFAR archives that torchvision reads hold pickled arrays, and a pickle can run code. torchvision
compares every file with an MD5 written in its source before it unpickles that file, so what is loaded is the authors'
published archive and nothing else; this is the only place of the project where a pickle is read. Whoever wants none
uses an image folder instead. ImageNet's `meta.bin` is read by torchvision with `weights_only=True`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets as tv

from gradinv.benchmark.datasets.base import ArraySplit, Dataset, Split, held_out_loaders
from gradinv.benchmark.datasets.changes import fitting
from gradinv.benchmark.datasets.decoding import fit
from gradinv.benchmark.datasets.folder import FileSplit
from gradinv.benchmark.datasets.registry import DataError, register_dataset
from gradinv.benchmark.machine import data_root
from gradinv.metrics.image_size import ImageSize, sides

IMAGENET_SIZE = 224


@register_dataset("cifar10", lies_elsewhere=True)
def cifar10(image_size: ImageSize | None = None, *, download: bool = False) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images, 32x32, 10 classes; DataError if not there."""
    return _cifar("cifar10", tv.CIFAR10, image_size, download)


@register_dataset("cifar100", lies_elsewhere=True)
def cifar100(image_size: ImageSize | None = None, *, download: bool = False) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images, 32x32, 100 classes; DataError if missing."""
    return _cifar("cifar100", tv.CIFAR100, image_size, download)


def _cifar(name: str, kind: Callable[..., Any], image_size: ImageSize | None, download: bool) -> Dataset:
    root = data_root()
    size = image_size or 32
    # The held-out part is read at once, so that missing files are told before anything is planned on them.
    try:
        held_out = kind(root, train=False, download=download)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{name} is not in {root} ({error}); pass --download, or put torchvision's {kind.base_folder} there"  # type: ignore[attr-defined]
        ) from error
    loaders = held_out_loaders(lambda: _array_split(held_out, size))
    loaders["train"] = lambda: _array_split(kind(root, train=True), size)
    return Dataset(name, held_out.classes, size, loaders)


def _array_split(source: Any, size: ImageSize) -> Split:
    array = source.data
    height, width = array.shape[1:3]
    if (height, width) != sides(size):
        array = np.stack([np.asarray(fit(Image.fromarray(image), size)) for image in array])
    return ArraySplit(array, np.asarray(source.targets), changed=fitting((width, height), size))


@register_dataset("imagenet")
def imagenet(image_size: ImageSize | None = None, *, download: bool = False) -> Dataset:
    """ImageNet-1k (Russakovsky et al. 2015) in `<data root>/imagenet`, 224x224 unless another size is asked for.

    The archives cannot be downloaded by a program; torchvision unpacks them where they lie in that folder. Raises
    DataError where they do not.
    """
    root = data_root() / "imagenet"
    size = image_size or IMAGENET_SIZE
    held_out = _imagenet_source(root, "val")
    loaders = held_out_loaders(lambda: _file_split(held_out, size))
    loaders["train"] = lambda: _file_split(_imagenet_source(root, "train"), size)
    # A class of ImageNet has several synonyms, the usual one first.
    return Dataset("imagenet", [names[0] for names in held_out.classes], size, loaders)


def _imagenet_source(root: Path, split: str) -> Any:
    try:
        return tv.ImageNet(root, split=split)
    except (RuntimeError, OSError) as error:
        # An image folder that someone called so.
        renaming = "; or rename the folder, to read it as images" if (root / split).is_dir() else ""
        raise DataError(
            f"imagenet ({split}) is not in {root}; register at image-net.org, download the devkit and the {split} "
            f"archive of ILSVRC2012, and put them there (no program may download them){renaming}"
        ) from error


def _file_split(source: Any, size: ImageSize) -> Split:
    # torchvision takes hidden files for images, such as the `._` files that macOS writes.
    samples = [(Path(path), label) for path, label in source.samples if not Path(path).name.startswith(".")]
    return FileSplit(Path(source.root), [path for path, _ in samples], [label for _, label in samples], size)
