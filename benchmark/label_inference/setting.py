"""What of label inference is chosen: rules, batch sizes, how labels repeat, and what auxiliary images there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from gradinv.attacks.label_rules import Auxiliary, Classifier, Responses, rule_keys
from gradinv.attacks.update import canonical_update, create_update
from gradinv.benchmark.datasets import Batch, DataError, Dataset, draw_batch, random_state
from gradinv.benchmark.victims import LoadedVictim, normalise
from gradinv.metrics.registry import RequestError

PART = 50  # auxiliary images decoded and passed through the network at once


class LabelRequestError(RequestError):
    """Private batches that the data set cannot give; its text says which and why."""


@dataclass(frozen=True)
class LabelSetting:
    """Rules by key, sizes, and how labels are drawn.

    Up to `max_equal_labels` labels of a batch are equal. With `client_classes` a batch's images are of so many classes,
    drawn anew for every batch: a client that has seen little else. `auxiliary` images a class are granted to rules that
    want some, from the tuning images, none of which is ever in a batch. The client defends itself by `defense`, which
    no rule knows, and sends an `update` of this key, of which all is known.
    """

    batch_sizes: tuple[int, ...]
    max_equal_labels: int = 1
    client_classes: int | None = None
    rules: tuple[str, ...] = field(default_factory=lambda: tuple(rule_keys()))
    auxiliary: int = 25
    defense: str = "none"
    update: str = "gradient"

    def possible(self, dataset: Dataset) -> "LabelSetting":
        """The same with its sizes sorted, each once.

        LabelRequestError or DataError where the data set has no such batch.
        """
        sizes = tuple(sorted(set(self.batch_sizes)))
        if reason := create_update(self.update).reason_no_client:
            raise LabelRequestError(reason)
        classes = len(dataset.classes)
        drawn = self.client_classes or classes
        if drawn > classes:
            raise LabelRequestError(
                f"{drawn} classes of a client, and {dataset.name} has {classes}; take at most those"
            )
        if sizes[-1] > drawn * self.max_equal_labels:
            raise LabelRequestError(
                f"batch size {sizes[-1]}: {drawn} classes, none more than {self.max_equal_labels} times, give at most "
                f"{drawn * self.max_equal_labels} labels; take smaller batches, or raise --max-equal-labels"
            )
        possible = replace(self, batch_sizes=sizes, update=canonical_update(self.update))
        # Drawn for its DataError alone, which is to come before a victim is trained.
        possible.batch(dataset, 0)
        return possible

    def batch(self, dataset: Dataset, repetition: int) -> Batch:
        """The largest private batch of a repetition; the smaller ones are beginnings of it."""
        size = max(self.batch_sizes)
        if self.client_classes is None:
            return draw_batch(dataset, repetition=repetition, batch_size=size, max_equal_labels=self.max_equal_labels)
        return self._of_few_classes(dataset, repetition, size)

    def _of_few_classes(self, dataset: Dataset, repetition: int, size: int) -> Batch:
        assert self.client_classes is not None
        split = dataset.split("evaluation")
        order = partial(random_state, dataset.name, "evaluation", repetition)
        # Only classes with images: half of a set of one image a class lies in the other split.
        classes = order("client_classes").permutation(np.unique(split.labels))[: self.client_classes]
        members = [int(i) for i in order("client_images").permutation(len(split)) if split.labels[i] in classes]
        taken: list[int] = []
        for index in members:
            equal = sum(split.labels[index] == split.labels[other] for other in taken)
            if len(taken) < size and equal < self.max_equal_labels:
                taken.append(index)
        if len(taken) < size:
            raise DataError(
                f"{dataset.name} gives {len(taken)} images of {self.client_classes} classes for a batch of {size} with "
                f"max_equal_labels={self.max_equal_labels}; raise one of the two"
            )
        labels = torch.tensor([int(split.labels[index]) for index in taken])
        return Batch(split.images(taken), labels, tuple(split.image_hash(index) for index in taken), tuple(taken))


@dataclass(frozen=True)
class AuxiliaryImages:
    """Normalised auxiliary images, in parts that pass through the network together, their labels, and their origin."""

    parts: tuple[Tensor, ...]
    labels: Tensor
    source: str

    def seen_by(self, classifier: Classifier, parameters: Mapping[str, Tensor] = MappingProxyType({})) -> Auxiliary:
        """As the classifier sees them, with these parameters in place of its network's own."""
        parts = [classifier.responses(images, parameters) for images in self.parts]
        return Auxiliary(Responses.joined(parts), self.labels, self.source)


def auxiliary_images(dataset: Dataset, loaded: LoadedVictim, per_class: int) -> AuxiliaryImages | None:
    """The first so many tuning images of every class; None for none."""
    if not per_class or not dataset.has("tuning"):
        return None
    split = dataset.split("tuning")
    # Sorted, so that the images are read in the order in which they are stored.
    chosen = np.sort(np.concatenate([np.flatnonzero(split.labels == c)[:per_class] for c in np.unique(split.labels)]))
    parts = []
    for start in range(0, len(chosen), PART):
        images = split.images([int(index) for index in chosen[start : start + PART]])
        parts.append(normalise(images, loaded.mean, loaded.std))
    labels = torch.from_numpy(split.labels[chosen].astype(np.int64))
    return AuxiliaryImages(tuple(parts), labels, f"{len(chosen)} tuning images of {dataset.name}")
