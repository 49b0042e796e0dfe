"""Batches: fixed draws with the prefix property, distinct images, bounded equal labels, one clear error."""

from collections import Counter

import numpy as np
import pytest
import torch

from gradinv.benchmark.datasets import DataError, create_dataset
from gradinv.benchmark.datasets.base import ArraySplit
from gradinv.benchmark.datasets.batches import draw_batch, draw_like, mean_image
from gradinv.benchmark.datasets.seeds import seed_of


def test_seeds_are_63_bits_of_a_hash_and_never_change() -> None:
    assert seed_of("batch", "photos", "evaluation", 0) == seed_of("batch", "photos", "evaluation", 0)
    assert len({seed_of("batch", repetition) for repetition in range(100)}) == 100
    assert 0 <= seed_of() < 2**63
    assert seed_of("a", 1) == 2762751850920054114


@pytest.mark.parametrize("max_equal_labels", [1, 2, 3])
def test_a_batch_is_the_prefix_of_one_fixed_draw(make_dataset, max_equal_labels: int) -> None:
    dataset = make_dataset(classes=10)
    largest = draw_batch(dataset, repetition=3, batch_size=10 * max_equal_labels, max_equal_labels=max_equal_labels)
    assert max(Counter(largest.labels.tolist()).values()) == max_equal_labels
    assert len(set(largest.indices)) == len(largest) == 10 * max_equal_labels
    for size in (1, 4, 9):
        part = draw_batch(dataset, repetition=3, batch_size=size, max_equal_labels=max_equal_labels)
        assert part.indices == largest.indices[:size]
        assert part.hashes == largest.hashes[:size]
        assert torch.equal(part.images, largest.images[:size])


@pytest.mark.parametrize("equal", [2, 3, 4])
def test_equal_labels_are_the_first_ones_and_the_others_stay_distinct(make_dataset, equal: int) -> None:
    """The other images are those of the draw of distinct labels, so that the axis is paired."""
    dataset = make_dataset(classes=8, held_out=12)
    for repetition in range(5):
        distinct = draw_batch(dataset, repetition=repetition, batch_size=6)
        settings = {"max_equal_labels": equal, "equal_labels": equal}
        batch = draw_batch(dataset, repetition=repetition, batch_size=6, **settings)
        assert len(set(batch.indices)) == 6
        assert batch.labels[:equal].unique().tolist() == [int(distinct.labels[0])]
        assert sorted(Counter(batch.labels.tolist()).values()) == [1] * (6 - equal) + [equal]
        assert batch.indices[0] == distinct.indices[0]
        assert batch.indices[equal:] == distinct.indices[1 : 7 - equal]
        prefix = draw_batch(dataset, repetition=repetition, batch_size=3, **settings)
        assert prefix.indices == batch.indices[:3]


def test_more_equal_labels_than_a_class_has_images_is_a_clear_error(make_dataset) -> None:
    settings = {"max_equal_labels": 4, "equal_labels": 4}
    with pytest.raises(DataError, match="tiny has no 4 images of class"):
        draw_batch(make_dataset(classes=8), repetition=0, batch_size=6, **settings)


def test_repetitions_and_roles_are_different_draws(make_dataset) -> None:
    dataset = make_dataset(classes=10)
    draws = {draw_batch(dataset, repetition=repetition, batch_size=4).indices for repetition in range(8)}
    assert len(draws) == 8
    tuning = draw_batch(dataset, repetition=0, batch_size=10, role="tuning")
    assert not set(tuning.hashes) & set(draw_batch(dataset, repetition=0, batch_size=10).hashes)


def test_a_batch_carries_what_the_split_holds(make_dataset) -> None:
    dataset = make_dataset()
    split = dataset.split("evaluation")
    batch = draw_batch(dataset, repetition=0, batch_size=4)
    assert batch.images.dtype == torch.float32
    assert batch.labels.tolist() == split.labels[list(batch.indices)].tolist()
    assert batch.hashes == tuple(split.image_hash(index) for index in batch.indices)
    assert torch.equal(batch.images, split.images(batch.indices))


def test_a_batch_that_the_classes_cannot_fill_is_a_clear_error(make_dataset) -> None:
    with pytest.raises(DataError, match=r"tiny \(4 classes\) .* batch of 5 .*raise max_equal_labels"):
        draw_batch(make_dataset(), repetition=0, batch_size=5)
    assert len(draw_batch(make_dataset(), repetition=0, batch_size=5, max_equal_labels=2)) == 5


def test_batches_up_to_48(make_dataset) -> None:
    assert len(draw_batch(make_dataset(classes=48, held_out=2), repetition=0, batch_size=48)) == 48


@pytest.mark.parametrize("role", ["tuning", "evaluation"])
def test_photos_in_one_batch_never_overlap(role) -> None:
    dataset = create_dataset("photos")
    split = dataset.split(role)
    for repetition in range(16):
        batch = draw_batch(dataset, repetition=repetition, batch_size=16, max_equal_labels=2, role=role)
        controls = draw_like(
            dataset,
            draw_batch(dataset, repetition=repetition, batch_size=8, role=role),
            repetition=repetition,
            purpose="other",
        )
        assert controls is not None
        assert not any(split.overlaps(i, j) for i in batch.indices for j in batch.indices if i != j)


@pytest.mark.parametrize("max_equal_labels", [1, 3])
def test_like_draws_other_images_with_the_same_labels(make_dataset, max_equal_labels: int) -> None:
    dataset = make_dataset(classes=6, held_out=14)
    batch = draw_batch(dataset, repetition=0, batch_size=6 * max_equal_labels, max_equal_labels=max_equal_labels)
    controls = draw_like(dataset, batch, repetition=0, purpose="other_gradient")
    assert torch.equal(controls.labels, batch.labels)
    assert not set(controls.indices) & set(batch.indices)
    assert len(set(controls.indices)) == len(controls)


def test_like_is_a_prefix_too_and_depends_on_its_purpose(make_dataset) -> None:
    dataset = make_dataset(classes=8, held_out=20)
    small, large = (draw_batch(dataset, repetition=1, batch_size=size) for size in (3, 8))
    part = draw_like(dataset, small, repetition=1, purpose="same_class")
    longer = draw_like(dataset, large, repetition=1, purpose="same_class")
    assert part.indices == longer.indices[:3]
    assert draw_like(dataset, large, repetition=1, purpose="other_gradient").indices != longer.indices
    assert draw_like(dataset, large, repetition=2, purpose="same_class").indices != longer.indices


def test_like_is_none_where_a_class_has_no_other_image(make_dataset) -> None:
    dataset = make_dataset(held_out=2)
    batch = draw_batch(dataset, repetition=0, batch_size=4)
    assert draw_like(dataset, batch, repetition=0, purpose="same_class") is None


def test_the_mean_image_is_that_of_the_train_images(make_dataset) -> None:
    dataset = make_dataset()
    split = dataset.split("train")
    torch.testing.assert_close(mean_image(dataset), split.images(range(len(split))).mean(0))
    without = make_dataset(train=0)
    tuning = without.split("tuning")
    torch.testing.assert_close(mean_image(without), tuning.images(range(len(tuning))).mean(0))


def test_the_mean_image_takes_a_thousand_at_most(make_dataset, monkeypatch) -> None:
    asked: list[int] = []
    original = ArraySplit.pixels

    def counted(self, indices) -> np.ndarray:
        asked.extend(indices)
        return original(self, indices)

    dataset = make_dataset(train=400, size=2)
    dataset.split("train")  # looks at one image
    monkeypatch.setattr(ArraySplit, "pixels", counted)
    mean_image(dataset)
    assert len(asked) == len(set(asked)) == 1_000
