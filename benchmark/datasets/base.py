"""What a data set is: three splits of images with labels, hashed by content."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gradinv.benchmark.datasets.changes import Change, in_words
from gradinv.benchmark.datasets.checks import CHANNELS, check_split, checked_classes, checked_images, checked_labels
from gradinv.benchmark.datasets.registry import DataError, checked_image_size, raised
from gradinv.benchmark.datasets.seeds import random_state
from gradinv.metrics.image_size import ImageSize, sides
from gradinv.metrics.registry import RequestError

Role = Literal["train", "tuning", "evaluation"]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of pixels in [0, 1], one number a channel."""

# Means and standard deviations of the training pixels in [0, 1], as the literature uses them.
CIFAR10: Normalisation = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100: Normalisation = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalisation(name: str) -> Normalisation:
    """Mean and standard deviation a channel: CIFAR's own for names that start so, ImageNet's for all others.

    >>> normalisation("cifar100_jpeg") == CIFAR100, normalisation("photos") == IMAGENET
    (True, True)
    """
    # By the beginning of the name, so that an image folder `cifar10_jpeg` is normalised as CIFAR-10 is.
    if name.startswith("cifar100"):
        return CIFAR100
    return CIFAR10 if name.startswith("cifar10") else IMAGENET


def of_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number a channel of colour images, for images of one channel their mean.

    >>> of_channels((0.25, 0.5, 0.75), 1)
    (0.5,)
    """
    return values if len(values) == channels else (sum(values) / len(values),) * channels


class Split(ABC):
    """Images with labels; `labels` is an int64 array, one class index an image.

    `remarks` are lines on what belongs to no image, such as files that are none.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = checked_labels(labels)

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """The images as stored: uint8 (n, H, W, C), C = 3, or 1 where the data set says so."""

    @cached_property
    @abstractmethod
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over the images and labels."""

    def images(self, indices: Sequence[int]) -> Tensor:
        """The images (n, C, H, W) as float32 in [0, 1]."""
        return torch.from_numpy(self.pixels(indices)).permute(0, 3, 1, 2).float() / 255

    def image_hash(self, index: int) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of one image's 8-bit pixels."""
        # Of the pixels and not of the file: two runs are paired by what was attacked, wherever it was stored.
        return hashlib.sha256(self.pixels([index]).tobytes()).hexdigest()[:16]

    def overlaps(self, first: int, second: int) -> bool:
        """Whether two images share so much of one photograph that they must not stand in one batch."""
        return False

    def changes_of(self, index: int) -> Sequence[Change]:
        """What was done to one image on its way from where it is stored to `pixels`."""
        return ()

    @cached_property
    def changes(self) -> list[str]:
        """Lines that count and name what was changed or passed over; none where all is handed out as stored.

        Such as `12 of 40 images: centre cut out of 64 x 80, first ant/3.png`. Reads the header of every file.
        """
        return [*in_words([self.changes_of(index) for index in range(len(self))]), *self.remarks]


class ArraySplit(Split):
    """Images held as one uint8 array (n, H, W, C); `changed` says what was done to every one of them.

    Raises DataError for another type or shape.
    """

    def __init__(self, array: np.ndarray, labels: np.ndarray, *, changed: Sequence[Change] = ()) -> None:
        super().__init__(labels)
        self.array, self.changed = checked_images(array, self.labels), tuple(changed)

    def changes_of(self, index: int) -> Sequence[Change]:
        return self.changed

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        return self.array[np.asarray(indices, dtype=np.int64)]

    @cached_property
    def content_hash(self) -> str:
        # With the shape: the same bytes cut otherwise are other images.
        header = f"{self.array.shape}".encode()
        return hashlib.sha256(header + self.array.tobytes() + self.labels.tobytes()).hexdigest()


class Subset(Split):
    """Some images of a larger split, in the order of `indices`."""

    def __init__(self, parent: Split, indices: np.ndarray) -> None:
        super().__init__(parent.labels[indices])
        self.parent, self.indices, self.remarks = parent, indices, parent.remarks

    def changes_of(self, index: int) -> Sequence[Change]:
        return self.parent.changes_of(int(self.indices[index]))

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        return self.parent.pixels(self.indices[np.asarray(indices, dtype=np.int64)].tolist())

    def overlaps(self, first: int, second: int) -> bool:
        return self.parent.overlaps(int(self.indices[first]), int(self.indices[second]))

    @cached_property
    def content_hash(self) -> str:
        # The parent's hash covers pixels and labels, and is kept: no image is read again.
        return hashlib.sha256(self.parent.content_hash.encode() + self.indices.astype(np.int64).tobytes()).hexdigest()


class Dataset:
    """Three disjoint splits: victims train on `train`, attacks are tuned on `tuning` and scored on `evaluation`.

    `classes` are names by class index; `mean` and `std` (one number a channel) normalise images in [0, 1]. A split is
    made when it is first asked for. `image_size` is a number of pixels, or (height, width), which is kept as `64x80`;
    `image_shape` has both as numbers. `channels` is 1 where all images are grey and stored so. Raises DataError for
    fewer than two classes and for sizes beyond reason.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        image_size: ImageSize | Sequence[int],
        loaders: Mapping[Role, Callable[[], Split]],
        *,
        channels: int = 3,
    ) -> None:
        self.name, self.channels = name, channels
        with self._named():
            self.image_size: ImageSize = checked_image_size(image_size)
            if channels not in CHANNELS:
                raise DataError(f"channels {channels}: images have 3, or 1 where they are grey")
            self.mean, self.std = (of_channels(values, channels) for values in normalisation(name))
            self.classes = checked_classes(classes)
            unknown = sorted(set(loaders) - set(get_args(Role)))
            if unknown:
                raise DataError(f"{', '.join(unknown)} is no split; they are called {', '.join(get_args(Role))}")
        self._loaders = loaders
        self._splits: dict[Role, Split] = {}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return (self.channels, *sides(self.image_size))

    def split(self, role: Role) -> Split:
        """The images of that role; DataError where the data set has none, or where they are not what they must be."""
        if role not in self._loaders:
            raise DataError(f"data set {self.name} has no {role} images; use one that has, or an untrained victim")
        if role not in self._splits:
            with self._named(f" ({role})"):
                split = self._loaders[role]()
                if not isinstance(split, Split):
                    raise DataError(f"its loader gave {type(split).__name__}; give a Split, such as ArraySplit")
                check_split(split, classes=len(self.classes), image_shape=self.image_shape)
            self._splits[role] = split
        return self._splits[role]

    @contextmanager
    def _named(self, part: str = "") -> Iterator[None]:
        """Whatever goes wrong inside is a DataError that names this data set."""
        try:
            yield
        except RequestError as error:
            # A path to an image names its data set already.
            is_named = re.search(rf"\b{re.escape(self.name)}\b", str(error))
            raise DataError(str(error) if is_named else f"data set {self.name}{part}: {error}") from error
        except Exception as error:  # anybody's code
            raise DataError(f"data set {self.name}{part} cannot be made: {raised(error)}") from error

    def has(self, role: Role) -> bool:
        """Whether `split(role)` has images."""
        return role in self._loaders


def halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the tuning and of the evaluation images: disjoint halves of every class, by a fixed seed.

    The odd image of a class goes to the two sides in turn, over the classes in seeded order, so that classes of one
    image are shared out too.
    """
    tuning, evaluation = [], []
    odd = 0
    for label in random_state("halves").permutation(np.unique(labels)):
        members = np.flatnonzero(labels == label)
        # A generator a class, so that the order within a class does not depend on which classes come before it.
        members = members[random_state("halves", int(label)).permutation(len(members))]
        middle = len(members) // 2
        if len(members) % 2:
            middle += odd % 2
            odd += 1
        tuning.append(members[:middle])
        evaluation.append(members[middle:])
    return np.sort(np.concatenate(tuning)), np.sort(np.concatenate(evaluation))


def held_out_loaders(load: Callable[[], Split]) -> dict[Role, Callable[[], Split]]:
    """Loaders of `tuning` and `evaluation`, halves of the one split that `load` gives (called once)."""
    cache: list[Split] = []  # both halves come from one split, which is loaded when the first of them is asked for

    def half(side: int) -> Split:
        if not cache:
            cache.append(load())
        return Subset(cache[0], halves(cache[0].labels)[side])

    return {"tuning": lambda: half(0), "evaluation": lambda: half(1)}
