"""Image folders: `<name>/<split>/<class>/*.jpg|png`."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from gradinv.benchmark.datasets.base import Dataset, Split, held_out_loaders
from gradinv.benchmark.datasets.registry import HELD_OUT_FOLDERS, DataError

SUFFIXES = {".jpg", ".jpeg", ".png"}
MEMORY_LIMIT = 10**9  # bytes of decoded pixels that one split may hold


def square(image: Image.Image, size: int) -> Image.Image:
    """The image as RGB, (size, size): short side resized (bicubic, antialiased), then the centre cut out.

    An image of that size already is left as it is.
    """
    image = image.convert("RGB")
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def decode(path: Path, size: int) -> np.ndarray:
    """The pixels of an image file, uint8 (size, size, 3); DataError where it is no image."""
    try:
        with Image.open(path) as image:
            return np.asarray(square(image, size))
    except (UnidentifiedImageError, OSError) as error:  # OSError: a file that was cut short
        raise DataError(f"{path} cannot be read as an image ({error}); mend or remove it") from error


class FileSplit(Split):
    """Images in files; what was decoded is kept while the split fits in memory."""

    def __init__(self, root: Path, files: Sequence[Path], labels: Sequence[int], size: int) -> None:
        super().__init__(np.asarray(labels))
        self.root, self.files, self.size = root, list(files), size
        self._decoded = np.zeros(len(self.files), dtype=bool)

    @cached_property
    def _memory(self) -> np.ndarray | None:
        shape = (len(self.files), self.size, self.size, 3)
        # Not filled: a page costs memory only once an image was decoded into it.
        return np.empty(shape, dtype=np.uint8) if np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT else None

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        chosen = np.asarray(indices, dtype=np.int64)
        if self._memory is None:
            return np.stack([decode(self.files[index], self.size) for index in chosen])
        for index in np.unique(chosen[~self._decoded[chosen]]):  # each once, however often it is asked for
            self._memory[index] = decode(self.files[index], self.size)
            self._decoded[index] = True
        return self._memory[chosen]

    @cached_property
    def content_hash(self) -> str:
        # Over the files as they lie, because decoding a million images to hash them takes hours; NUL, which is in no
        # name, keeps names and labels apart.
        digest = hashlib.sha256()
        named = sorted((file.relative_to(self.root).as_posix(), index) for index, file in enumerate(self.files))
        for name, index in named:
            digest.update(f"{name}\0{self.labels[index]}\0".encode())
            digest.update(hashlib.sha256(self.files[index].read_bytes()).digest())
        return digest.hexdigest()


def class_folders(root: Path) -> list[str]:
    """Names of the class folders of one split, sorted: a class's index is its position."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def image_files(root: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """The image files of one split and their labels, by class and then by name; DataError for a class without any."""
    files, labels = [], []
    for label, name in enumerate(classes):
        paths = sorted(path for path in (root / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(f"{root / name} holds no image ({', '.join(sorted(SUFFIXES))}); fill or remove it")
        files += paths
        labels += [label] * len(paths)
    return files, labels


def folder_split(root: Path, classes: Sequence[str], size: int) -> FileSplit:
    """One split of an image folder; DataError where its classes are not `classes`."""
    if class_folders(root) != list(classes):
        differing = sorted(set(class_folders(root)) ^ set(classes))
        raise DataError(f"{root} has not the classes of its sibling: {', '.join(differing[:5])} stand in one only")
    files, labels = image_files(root, classes)
    return FileSplit(root, files, labels, size)


def folder_dataset(folder: Path, image_size: int | None) -> Dataset:
    """The image folder as a data set named like it; images keep the first one's short side where no size is asked for.

    `train` may be missing; the tuning and evaluation images are halves of `test`, or of `val` where there is no `test`.
    Raises DataError where neither is there, or where a class is empty.
    """
    held_out = next((folder / split for split in HELD_OUT_FOLDERS if (folder / split).is_dir()), None)
    if held_out is None:
        raise DataError(f"{folder} has no {' or '.join(HELD_OUT_FOLDERS)} folder; put <class>/*.jpg|png below one")
    classes = class_folders(held_out)
    if not classes:
        raise DataError(f"{held_out} has no class folders; put images into {held_out}/<class>/")
    files, _ = image_files(held_out, classes)
    with Image.open(files[0]) as first:
        size = image_size or min(first.size)
    loaders = held_out_loaders(lambda: folder_split(held_out, classes, size))
    if (folder / "train").is_dir():
        loaders["train"] = lambda: folder_split(folder / "train", classes, size)
    return Dataset(folder.name, classes, size, loaders)
