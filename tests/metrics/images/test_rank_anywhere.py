"""Rank anywhere: against a plain loop over shifts, and pictures that no judge of the verdict can find."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradinv.benchmark.datasets import create_dataset, draw_batch
from gradinv.benchmark.experiment.identity import pool_of, rivals_of
from gradinv.metrics.images.identity import identity_lowpass
from gradinv.metrics.images.rank_anywhere import CyclicLikeness, rank_anywhere
from gradinv.metrics.images.scoring import MetricUnavailable, ScoredBatch

SIZE = 32


@pytest.fixture(scope="module")
def scored() -> Callable[[Callable[[Tensor], Tensor]], ScoredBatch]:
    """`scored(change)`: sixteen photographs, `change` of each as its picture, and the pool."""
    dataset = create_dataset("photos", SIZE)
    batches = [draw_batch(dataset, repetition=repetition, batch_size=4) for repetition in range(4)]
    originals = torch.cat([batch.images for batch in batches])
    rivals = torch.cat([rivals_of(dataset, batch) for batch in batches])

    def make(change: Callable[[Tensor], Tensor]) -> ScoredBatch:
        return ScoredBatch(change(originals), originals, pool=pool_of(dataset), rivals=rivals)

    return make


def noisy(images: Tensor, deviation: float = 0.1) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + deviation * noise).clamp(0, 1)


def test_the_likeness_is_the_best_of_a_plain_loop_over_every_shift_and_the_mirror() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures, pool = (torch.randn(count, 3, 6, 6, generator=generator, dtype=torch.float64) for count in (2, 5))
    expected = torch.zeros(2, 5)
    for number, photograph in ((n, p) for n in range(2) for p in range(5)):
        unit = pool[photograph] / pool[photograph].norm()
        expected[number, photograph] = max(
            (turned.roll((down, right), (1, 2)) * unit).sum() / pictures[number].norm()
            for turned in (pictures[number], pictures[number].flip(2))
            for down in range(6)
            for right in range(6)
        )
    likeness = CyclicLikeness(pool)
    assert likeness.to_pool(pictures) == pytest.approx(expected)
    assert likeness.to_originals(pictures, pool[:2]) == pytest.approx(expected.diagonal())


@pytest.mark.parametrize(("down", "right"), [(0, 0), (16, 8), (-10, 6), (12, 16)])
def test_it_finds_a_noisy_picture_wherever_it_lies(scored: Callable, down: int, right: int) -> None:
    ranks = rank_anywhere(scored(lambda images: noisy(images.roll((down, right), (2, 3)))))
    assert ranks.median() == 0
    assert ranks.mean() < 0.02


def test_the_judge_of_the_verdict_does_not_find_what_lies_elsewhere(scored: Callable) -> None:
    batch = scored(lambda images: noisy(images.roll((16, 8), (2, 3))))
    assert identity_lowpass(batch).mean() > 0.25


def test_of_other_photographs_and_of_flat_pictures_it_knows_nothing(scored: Callable) -> None:
    assert rank_anywhere(scored(lambda images: noisy(images.roll(1, 0)))).mean() > 0.3
    assert rank_anywhere(scored(lambda images: torch.full_like(images, 0.5))).tolist() == [0.5] * 16


def test_a_mirror_is_seen_through(scored: Callable) -> None:
    assert rank_anywhere(scored(lambda images: images.flip(3).roll(10, 2))).median() == 0


def test_without_a_pool_it_is_unavailable(scored: Callable) -> None:
    images = scored(lambda images: images).originals
    with pytest.raises(MetricUnavailable, match="no pool"):
        rank_anywhere(ScoredBatch(images, images))
