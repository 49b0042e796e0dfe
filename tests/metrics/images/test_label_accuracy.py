"""Label accuracy against a count that crosses off one label at a time."""

import math

import pytest
import torch

from gradinv.metrics.images.label_accuracy import label_accuracy, shared_labels
from gradinv.metrics.images.scoring import ScoredBatch


def test_the_metric_needs_both_kinds_of_labels() -> None:
    images, labels = torch.zeros(2, 1, 4, 4), torch.tensor([3, 7])
    assert label_accuracy(ScoredBatch(images, images, labels.flip(0), labels)) == 1.0
    assert math.isnan(label_accuracy(ScoredBatch(images, images, None, labels)))
    assert math.isnan(label_accuracy(ScoredBatch(images, images, labels, None)))


def crossed_off(predicted: list[int], true: list[int]) -> float:
    rest = list(true)
    for label in predicted:
        if label in rest:
            rest.remove(label)
    return 1 - len(rest) / len(true)


@pytest.mark.parametrize("seed", range(20))
def test_repeats_count_and_order_does_not(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predicted, true = (torch.randint(0, 6, (8,), generator=generator) for _ in range(2))
    got = shared_labels(predicted, true)
    assert got == crossed_off(predicted.tolist(), true.tolist())
    assert got == shared_labels(predicted.flip(0), true)


def test_the_same_labels_in_another_order_are_all_recovered() -> None:
    true = torch.tensor([3, 3, 7, 7, 0])
    assert shared_labels(true[torch.tensor([4, 2, 0, 3, 1])], true) == 1.0


def test_one_label_named_for_all_counts_once() -> None:
    assert shared_labels(torch.full((4,), 2), torch.tensor([2, 3, 4, 5])) == 0.25


@pytest.mark.parametrize(("predicted", "true"), [((2,), (3,)), ((0,), (0,)), ((2, 1), (2, 1))])
def test_shapes_are_checked(predicted: tuple[int, ...], true: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must both be"):
        shared_labels(torch.zeros(predicted, dtype=torch.int64), torch.zeros(true, dtype=torch.int64))
