"""Private batches: fixed draws, so that attacks, defenses and batch sizes are all compared on the same images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gradinv.benchmark.datasets.base import Dataset, Role, Split
from gradinv.benchmark.datasets.registry import DataError
from gradinv.benchmark.datasets.seeds import random_state

MEAN_SAMPLE = 1_000
PUBLIC_IMAGES = 256
MEAN_PART = 100  # images decoded at once for the mean: 60 MB as float32 at 224 px


@dataclass(frozen=True)
class Batch:
    """Images (B, 3, H, W) as float32 in [0, 1], their labels (B,), content hashes and indices in the split `role`."""

    images: Tensor
    labels: Tensor
    hashes: tuple[str, ...]
    indices: tuple[int, ...]
    role: Role = "evaluation"

    def __len__(self) -> int:
        return len(self.indices)


def draw_batch(
    dataset: Dataset,
    *,
    repetition: int,
    batch_size: int,
    max_equal_labels: int = 1,
    equal_labels: int = 1,
    role: Role = "evaluation",
) -> Batch:
    """The private batch of that repetition: the first `batch_size` images of one fixed draw.

    The draw depends on the data set's name, the role and the repetition only: images come in a seeded order, and one is
    taken unless its label was taken `max_equal_labels` times or it overlaps an image taken before. With `equal_labels`
    above 1 the first so many have the first one's label, and the others are those of a draw of distinct labels. Raises
    DataError where the data set cannot fill the batch.
    """
    split = dataset.split(role)
    # Neither the order nor what is taken depends on `batch_size`: a smaller batch is the beginning of a larger one.
    taken: list[int] = []
    counts: Counter[int] = Counter()
    order = _order(split, "batch", dataset.name, role, repetition)
    most: dict[int, int] = {}
    repeated = int(split.labels[order[0]])
    if equal_labels > 1:
        order = [*(index for index in order if split.labels[index] == repeated), *order]
        most, max_equal_labels = {repeated: equal_labels}, 1
    for index in order:
        if len(taken) == batch_size:
            break
        label = int(split.labels[index])
        if counts[label] < most.get(label, max_equal_labels) and _fits(split, index, taken):
            taken.append(index)
            counts[label] += 1
    if len(taken) < batch_size:
        raise DataError(_unfilled(dataset, batch_size, max_equal_labels, len(taken)))
    if len(set(split.labels[taken[:equal_labels]].tolist())) > 1:
        raise DataError(f"{dataset.name} has no {equal_labels} images of class {repeated}; take fewer equal_labels")
    return _batch(split, taken, role)


def draw_like(
    dataset: Dataset,
    batch: Batch,
    *,
    repetition: int,
    purpose: str,
    any_class: bool = False,
) -> Batch | None:
    """Different images of the same split and labels, slot by slot; None where a class has no further image.

    With `any_class` their labels are whatever they are.

    No image is in the batch, is drawn twice, or overlaps an image of either. Slot k is the first fitting image in
    an order that depends on the data set's name, the role, the repetition and the purpose. It is kept off the images
    of the batch, not of the draw that the batch is a prefix of (that may be all of the split): with
    `max_equal_labels` 1 the draw for a smaller batch is therefore a prefix of the draw for a larger one, since only
    images of one label exclude each other; with repeated labels, slots may differ between batch sizes.
    """
    split = dataset.split(batch.role)
    order = _order(split, "like", purpose, dataset.name, batch.role, repetition)
    drawn: list[int] = []
    for label in batch.labels.tolist():
        forbidden = [*batch.indices, *drawn]
        candidates = (i for i in order if any_class or split.labels[i] == label)
        # A generator: the search ends at the first image that fits.
        fitting = next((i for i in candidates if _fits(split, i, forbidden)), None)
        if fitting is None:
            return None
        drawn.append(fitting)
    return _batch(split, drawn, batch.role)


@lru_cache(maxsize=4)
def mean_image(dataset: Dataset) -> Tensor:
    """The mean (C, H, W) in [0, 1] of up to 1,000 seeded training images; of tuning images where there are none."""
    split = dataset.split("train" if dataset.has("train") else "tuning")
    sample = _order(split, "mean_image", dataset.name)[:MEAN_SAMPLE]
    # In double precision: the last bits of a float32 sum of a thousand images depend on the machine's order.
    total = torch.zeros(dataset.image_shape, dtype=torch.float64)
    for start in range(0, len(sample), MEAN_PART):
        total += split.images(sample[start : start + MEAN_PART]).double().sum(0)
    return (total / len(sample)).float()


@lru_cache(maxsize=4)
def public_images(dataset: Dataset) -> Tensor:
    """Up to 256 seeded tuning images (n, 3, H, W) in [0, 1]: those that an attacker has of the client's domain.

    Victims train on none of them and none is attacked. DataError where the data set has no tuning images.
    """
    split = dataset.split("tuning")
    return split.images(_order(split, "public_images", dataset.name)[:PUBLIC_IMAGES])


def _order(split: Split, *parts: str | int) -> list[int]:
    return random_state(*parts).permutation(len(split)).tolist()


def _overlaps_any(split: Split, index: int, taken: Sequence[int]) -> bool:
    return any(split.overlaps(index, image) for image in taken)


def _fits(split: Split, index: int, forbidden: Sequence[int]) -> bool:
    return index not in forbidden and not _overlaps_any(split, index, forbidden)


def _batch(split: Split, indices: Sequence[int], role: Role) -> Batch:
    return Batch(
        images=split.images(indices),
        labels=torch.tensor([int(split.labels[index]) for index in indices]),
        hashes=tuple(split.image_hash(index) for index in indices),
        indices=tuple(indices),
        role=role,
    )


def _unfilled(dataset: Dataset, batch_size: int, max_equal_labels: int, drawn: int) -> str:
    classes = len(dataset.classes)
    return (
        f"{dataset.name} ({classes} classes) gives {drawn} images for a batch of {batch_size} "
        f"with max_equal_labels={max_equal_labels}; raise max_equal_labels, or take a data set with more classes"
    )
