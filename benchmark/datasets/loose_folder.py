"""A folder of anybody's images: flat, in class folders, or in class folders under splits of any name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from gradinv.benchmark.datasets.base import Dataset, Role, Split, Subset, halves
from gradinv.benchmark.datasets.changes import listed
from gradinv.benchmark.datasets.decoding import check_is_file, own_size
from gradinv.benchmark.datasets.folder import FileSplit, class_folders, is_image_name
from gradinv.benchmark.datasets.registry import DataError
from gradinv.metrics.image_size import ImageSize

TRAIN = "train"


@dataclass(frozen=True)
class LooseImages:
    """The image files of a folder, in the order of their paths; `remarks` say what was passed over.

    `folders` holds the name of each file's class folder, empty in a flat folder; `in_train` whether it lies in a split
    called `train` that has others beside it.
    """

    root: Path
    files: tuple[Path, ...]
    folders: tuple[str, ...]
    in_train: tuple[bool, ...]
    remarks: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The names of the class folders, sorted; none of a flat folder."""
        return sorted(set(self.folders) - {""})

    @property
    def image_size(self) -> ImageSize:
        """The size that all the images have; a square of the first one's short side where they differ."""
        return own_size(self.files)


def find_images(root: Path) -> LooseImages:
    """Every image of a folder; DataError where there is none, or where its layout has two meanings.

    Images lie in the folder itself, in its folders (classes), or in the folders of its folders (splits, classes).
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give the folder that the images lie in")
    inner = {name: class_folders(root / name) for name in class_folders(root)}
    by_place: dict[tuple[str, str], list[Path]] = {("", ""): _images(root)}
    for name, classes in inner.items():
        by_place["", name] = _images(root / name)
        by_place |= {(name, label): _images(root / name / label) for label in classes}
    held = {place: files for place, files in by_place.items() if files}
    depths = sorted({sum(map(bool, place)) for place in held})
    if not depths:
        raise DataError(f"{root} holds no image; give a folder of images, of class folders, or of splits of these")
    if len(depths) > 1:
        first, second = (next(files[0] for p, files in held.items() if sum(map(bool, p)) == d) for d in depths[:2])
        raise DataError(f"{root} holds images at two depths ({first} and {second}); keep those of one")
    splits = {split for split, _ in held}
    rows = [(path, place) for place, files in sorted(held.items()) for path in files]
    empty = [name for name, classes in inner.items() if not any(name in place for place in held)]
    return LooseImages(
        root,
        tuple(path for path, _ in rows),
        tuple(label for _, (_, label) in rows),
        tuple(len(splits) > 1 and split == TRAIN for _, (split, _) in rows),
        (f"folders without images, passed over: {listed(empty)}",) if empty else (),
    )


def _images(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if is_image_name(path.name))
    for path in files:
        check_is_file(path)
    return files


def loose_split(images: LooseImages, labels: Sequence[int], image_size: ImageSize, channels: int = 3) -> Split:
    """All the images under these labels, in their order."""
    return FileSplit(images.root, images.files, labels, image_size, images.remarks, channels=channels)


def loose_dataset(
    name: str,
    images: LooseImages,
    labels: Sequence[int],
    classes: Sequence[str],
    image_size: ImageSize,
    channels: int = 3,
) -> Dataset:
    """The images as a data set of that name: attacked is the evaluation split.

    Training images are those of the split `train`, where there is one beside others, else half of all. Of the rest one
    half is for tuning and one for evaluation.
    """
    whole = lru_cache(lambda: loose_split(images, labels, image_size, channels))
    train, held = _parts(images, np.asarray(labels))
    tuning, evaluation = (held[half] for half in halves(np.asarray(labels)[held]))

    def part(places: np.ndarray) -> Callable[[], Split]:
        return lambda: Subset(whole(), places)

    loaders: dict[Role, Callable[[], Split]] = {
        "train": part(train), "tuning": part(tuning), "evaluation": part(evaluation)
    }  # fmt: skip
    return Dataset(name, classes, image_size, loaders, channels=channels)


def _parts(images: LooseImages, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of training images and of all others."""
    in_train = np.asarray(images.in_train)
    return (np.flatnonzero(in_train), np.flatnonzero(~in_train)) if in_train.any() else halves(labels)
