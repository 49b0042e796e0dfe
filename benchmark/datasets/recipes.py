"""Making the data sets of the published boards from what anybody can download, and telling them from ours by hash."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from gradinv.benchmark.datasets.decoding import fit, read_image
from gradinv.benchmark.datasets.folder import class_folders, is_image_name
from gradinv.benchmark.datasets.obtainable import OBTAINABLE, Obtainable
from gradinv.benchmark.datasets.registry import DataError
from gradinv.benchmark.machine import data_root
from gradinv.metrics.registry import UnknownNameError, unknown


class Photograph(NamedTuple):
    """One image of a source: where it goes, and what reads it."""

    split: str
    label: str
    stem: str
    read: Callable[[], Image.Image]


def make(name: str, source: Path) -> Path:
    """Make a data set below the data root from its source; returns its folder.

    Written whole or not at all. Short sides are resized (bicubic, antialiased), the centre cut out, and saved as JPEG
    with chroma halved. DataError where the folder is there already or the source is not what it must be.
    """
    recipe, target = recipe_of(name), data_root() / name
    if target.exists():
        raise DataError(f"{target} is there already; remove it first")
    if not source.is_dir():
        raise DataError(f"--source {source} is no folder; give {recipe.source}")
    partial = target.with_name(f".{name}.{os.getpid()}")
    try:
        count = 0
        for photograph in _SOURCES[name](source):
            _write(photograph, partial, recipe)
            count += 1
        if not count:
            raise DataError(f"--source {source} holds no image; give {recipe.source}")
        # Both lie in one folder, so that this is one step: nobody finds half of a data set under its name.
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def recipe_of(name: str) -> Obtainable:
    """The recipe of that name; UnknownNameError with the nearest ones."""
    if name not in OBTAINABLE:
        raise UnknownNameError(unknown("recipe of a data set", name, list(OBTAINABLE)))
    return OBTAINABLE[name]


def _write(photograph: Photograph, folder: Path, recipe: Obtainable) -> None:
    place = folder / photograph.split / photograph.label
    place.mkdir(parents=True, exist_ok=True)
    image = fit(photograph.read(), recipe.size)
    image.save(place / f"{photograph.stem}.jpg", "JPEG", quality=recipe.quality, subsampling="4:2:0")


def _cifar(source: Path) -> Iterator[Photograph]:
    """Numbered within their class, in the order of the data set."""
    from torchvision.datasets import CIFAR10

    for split in ("train", "test"):
        try:
            data = CIFAR10(str(source), train=split == "train", download=False)
        except RuntimeError as error:
            raise DataError(f"--source {source}: {' '.join(str(error).split())}") from error
        counts: dict[int, int] = {}
        for pixels, label in zip(data.data, data.targets, strict=True):
            number = counts[label] = counts.get(label, -1) + 1
            yield Photograph(split, data.classes[label], f"{number:04d}", _held(Image.fromarray(pixels)))


def _held(image: Image.Image) -> Callable[[], Image.Image]:
    return lambda: image


def _of_file(path: Path) -> Callable[[], Image.Image]:
    return lambda: read_image(path)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"--source: {folder} is missing")
    return sorted(path for path in folder.iterdir() if is_image_name(path.name))


def _tiny(source: Path) -> Iterator[Photograph]:
    """Called by the number that ends a file's name."""
    for label in class_folders(source / "train"):
        for path in _images(source / "train" / label / "images"):
            yield Photograph("train", label, path.stem.rpartition("_")[2], _of_file(path))
    annotations = source / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise DataError(f"--source: {annotations} is missing")
    for line in annotations.read_text(encoding="utf-8").splitlines():
        file, label, *_ = line.split("\t")
        path = source / "val" / "images" / file
        yield Photograph("val", label, path.stem.rpartition("_")[2], _of_file(path))


def _imagenette(source: Path) -> Iterator[Photograph]:
    """All training images; of the others the hundred of each class that our list names."""
    chosen = _published()["imagenette128 val"]
    for split in ("train", "val"):
        for label in class_folders(source / split):
            for path in _images(source / split / label):
                if split == "train" or path.stem in chosen.get(label, ()):
                    yield Photograph(split, label, path.stem, _of_file(path))


def _thousand(source: Path) -> Iterator[Photograph]:
    """One file a class, its class before the first underscore of its name."""
    for path in _images(source):
        label, _, name = path.stem.partition("_")
        yield Photograph("val", label, name, _of_file(path))


_SOURCES: Mapping[str, Callable[[Path], Iterator[Photograph]]] = {
    "cifar10_jpeg": _cifar,
    "tinyimagenet32": _tiny,
    "imagenette128": _imagenette,
    "imagenet1000": _thousand,
}


def _published() -> Any:
    """Data set -> split -> class -> (number of files, hash); and the names of Imagenette's images."""
    return json.loads((files("gradinv.benchmark.datasets") / "hashes.json").read_text(encoding="utf-8"))


class Compared(NamedTuple):
    """A split beside ours: classes of equal files, classes that differ with how, classes that stand in one only."""

    split: str
    equal: int
    differing: list[str]

    def __str__(self) -> str:
        if not self.differing:
            return f"{self.split}: {self.equal} classes, every file as ours"
        shown = "; ".join(self.differing[:3]) + (" ..." if len(self.differing) > 3 else "")
        return f"{self.split}: {self.equal} classes as ours, {len(self.differing)} differ: {shown}"


def compared(name: str) -> list[Compared]:
    """The data set below the data root beside the hashes of ours, split by split; DataError where it is not there."""
    recipe_of(name)
    folder, splits = data_root() / name, _published()[name]
    if not folder.is_dir():
        raise DataError(f"{folder} is not there; `gradinv data {name} --source FOLDER` makes it")
    return [_compared(folder / split, split, classes) for split, classes in splits.items()]


def _compared(folder: Path, split: str, published: Mapping[str, list[Any]]) -> Compared:
    held = {label: list(hash_of_class(folder / label)) for label in (class_folders(folder) if folder.is_dir() else [])}
    differing = [
        f"{label} ({_difference(held.get(label), published.get(label))})"
        for label in sorted({*held, *published})
        if held.get(label) != published.get(label)
    ]
    return Compared(split, sum(held.get(label) == hashed for label, hashed in published.items()), differing)


def _difference(held: list[Any] | None, published: list[Any] | None) -> str:
    if held is None or published is None:
        return "missing" if held is None else "not ours"
    return f"{held[0]} files, ours {published[0]}" if held[0] != published[0] else "other names or bytes"


def hash_of_class(folder: Path) -> tuple[int, str]:
    """How many images a class folder holds, and the first 16 digits of the SHA-256 over their names and hashes."""
    digest, images = hashlib.sha256(), sorted(path for path in folder.iterdir() if is_image_name(path.name))
    for path in images:
        # A zero ends a name and stands in none, so that no other list of names gives the same bytes.
        digest.update(f"{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return len(images), digest.hexdigest()[:16]
