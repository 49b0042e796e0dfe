"""Image folders: `<name>/<split>/<class>/<image>`."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from gradinv.benchmark.datasets.base import Dataset, Split, held_out_loaders
from gradinv.benchmark.datasets.changes import Change, listed
from gradinv.benchmark.datasets.decoding import GREY, changes_of, check_is_file, decode, own_size
from gradinv.benchmark.datasets.registry import HELD_OUT_FOLDERS, DataError
from gradinv.metrics.image_size import ImageSize, sides

MEMORY_LIMIT = 10**9  # bytes of decoded pixels that one split may hold


class FileSplit(Split):
    """Images in files; what was decoded is kept while the split fits in memory.

    With one of `channels` files that hold colours raise DataError when they are read.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[Path],
        labels: Sequence[int],
        size: ImageSize,
        remarks: Sequence[str] = (),
        *,
        channels: int = 3,
    ) -> None:
        super().__init__(np.asarray(labels, dtype=np.int64))
        self.root, self.files, self.size, self.remarks = root, list(files), size, tuple(remarks)
        self.channels = channels
        self._decoded = np.zeros(len(self.files), dtype=bool)

    @cached_property
    def _memory(self) -> np.ndarray | None:
        shape = (len(self.files), *sides(self.size), self.channels)
        # Not filled: a page costs memory only once an image was decoded into it.
        return np.empty(shape, dtype=np.uint8) if np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT else None

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        chosen = np.asarray(indices, dtype=np.int64)
        if self._memory is None:
            return np.stack([self._decode(index) for index in chosen])
        for index in np.unique(chosen[~self._decoded[chosen]]):  # each once, however often it is asked for
            self._memory[index] = self._decode(index)
            self._decoded[index] = True
        return self._memory[chosen]

    def _decode(self, index: int) -> np.ndarray:
        pixels = decode(self.files[index], self.size)
        # The decoder makes three equal channels of grey; whatever else it gives is a colour, which nobody may drop.
        if self.channels == 1 and not (pixels == pixels[..., :1]).all():
            raise DataError(f"{self.files[index]} has colours, and the network takes grey images; make it grey")
        return pixels[..., : self.channels]

    def changes_of(self, index: int) -> Sequence[Change]:
        changes = changes_of(self.files[index], self.size, self._name(index))
        return [change for change in changes if self.channels == 3 or change.words != GREY]

    @cached_property
    def content_hash(self) -> str:
        # Over the files as they lie, because decoding a million images to hash them takes hours; NUL, which is in no
        # name, keeps names and labels apart.
        digest = hashlib.sha256()
        for name, index in sorted((self._name(index), index) for index in range(len(self.files))):
            digest.update(f"{name}\0{self.labels[index]}\0".encode(errors="surrogateescape"))
            with _readable(self.files[index]):
                check_is_file(self.files[index])
                digest.update(hashlib.sha256(self.files[index].read_bytes()).digest())
        return digest.hexdigest()

    def _name(self, index: int) -> str:
        return self.files[index].relative_to(self.root).as_posix()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """An OSError inside is a DataError that names the path."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend or remove it") from error


def class_folders(root: Path) -> list[str]:
    """Names of the class folders of one split, sorted: a class's index is its position."""
    with _readable(root):
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def is_image_name(name: str) -> bool:
    """Whether torchvision would take a file of that name for an image; hidden files are none.

    >>> is_image_name("a.JPG"), is_image_name(".a.jpg"), is_image_name("a.gif")
    (True, False, False)
    """
    return name.lower().endswith(IMG_EXTENSIONS) and not name.startswith(".")


def image_files(root: Path, classes: Sequence[str]) -> tuple[list[Path], list[int], list[str]]:
    """The image files of one split, their labels, and what was passed over beside hidden files.

    By class and then by name. DataError for a class without images, and for what has an image's name and is no file.
    """
    files: list[Path] = []
    labels: list[int] = []
    passed_over = [name for name in _entries(root) if name not in classes]
    for label, class_name in enumerate(classes):
        entries = _entries(root / class_name)
        chosen = [root / class_name / name for name in entries if is_image_name(name)]
        if not chosen:
            raise DataError(f"{root / class_name} holds no image ({', '.join(IMG_EXTENSIONS)}); fill or remove it")
        for path in chosen:
            if not entries[path.name]:
                check_is_file(path)
        passed_over += [f"{class_name}/{name}" for name in entries if not is_image_name(name)]
        files += chosen
        labels += [label] * len(chosen)
    return files, labels, passed_over


def _entries(folder: Path) -> dict[str, bool]:
    """Names in a folder, sorted, without hidden ones, and whether each is surely a regular file."""
    # What the folder itself says: to ask every file of a million would take minutes.
    with _readable(folder), os.scandir(folder) as entries:
        kinds = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    return {name: kinds[name] for name in sorted(kinds) if not name.startswith(".")}


def folder_split(root: Path, classes: Sequence[str], size: ImageSize, remarks: Sequence[str] = ()) -> FileSplit:
    """One split of an image folder; DataError where its classes are not `classes`."""
    if class_folders(root) != list(classes):
        differing = sorted(set(class_folders(root)) ^ set(classes))
        raise DataError(f"{root} has not the classes of its sibling: {', '.join(differing[:5])} stand in one only")
    files, labels, passed_over = image_files(root, classes)
    if passed_over:
        remarks = [*remarks, f"{len(passed_over)} passed over, no image by their names: {listed(passed_over)}"]
    return FileSplit(root, files, labels, size, remarks)


def folder_dataset(folder: Path, image_size: ImageSize | None) -> Dataset:
    """The image folder as a data set named like it.

    Where no size is asked for, images keep their own if the held-out ones have one, else the first one's short side.
    `train` may be missing; the tuning and evaluation images are halves of the first of `HELD_OUT_FOLDERS` that is
    there. Raises DataError where none is, or where a class is empty.
    """
    held_out = next((folder / split for split in HELD_OUT_FOLDERS if (folder / split).is_dir()), None)
    if held_out is None:
        raise DataError(_without_held_out(folder))
    classes = class_folders(held_out)
    if not classes:
        raise DataError(f"{held_out} has no class folders; put images into {held_out}/<class>/")
    files, _, _ = image_files(held_out, classes)
    size = image_size or own_size(files)
    unread = [name for name in class_folders(folder) if name not in (held_out.name, "train")]
    remarks = [f"folders beside {held_out.name} that are not read: {listed(unread)}"] if unread else []
    loaders = held_out_loaders(lambda: folder_split(held_out, classes, size, remarks))
    if (folder / "train").is_dir():
        loaders["train"] = lambda: folder_split(folder / "train", classes, size)
    return Dataset(folder.name, classes, size, loaders)


def _without_held_out(folder: Path) -> str:
    """What to rename or move, where no folder has a name by which held-out images are found."""
    wanted = f"{folder} has no folder {' or '.join(HELD_OUT_FOLDERS)}"
    held = class_folders(folder)
    flat = [name for name in held if any(is_image_name(entry) for entry in _entries(folder / name))]
    if flat:
        return f"{wanted}; move its class folders ({listed(flat)}) into {folder / 'test'}"
    if held:
        return f"{wanted}; rename the one of its folders ({listed(held)}) whose images are attacked to test"
    return f"{wanted}; put images into {folder / 'test'}/<class>/"
