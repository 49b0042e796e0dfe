"""The matching against all permutations, and what it does to exact copies."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from gradinv.metrics.images.matching import match, slot_accuracy
from gradinv.metrics.images.psnr import psnr


def total_error(assignment: Tensor, reconstructions: Tensor, originals: Tensor) -> float:
    return (reconstructions[assignment] - originals).double().square().mean().item()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_no_permutation_has_a_smaller_error(seed: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    originals = torch.rand(batch, 1, 2, 2, generator=generator)
    reconstructions = torch.rand(batch, 1, 2, 2, generator=generator)
    assignment = match(reconstructions, originals)
    best = min(total_error(torch.tensor(p), reconstructions, originals) for p in permutations(range(batch)))
    assert sorted(assignment.tolist()) == list(range(batch))
    assert total_error(assignment, reconstructions, originals) == pytest.approx(best)


def test_a_three_cycle_of_exact_copies_is_perfect() -> None:
    originals = torch.rand(3, 3, 8, 8)
    reconstructions = originals[[1, 2, 0]]
    assignment = match(reconstructions, originals)
    assert psnr(reconstructions[assignment], originals).tolist() == [math.inf] * 3
    assert assignment.tolist() == [2, 0, 1]
    assert slot_accuracy(assignment) == 0.0


def test_one_image_matches_itself() -> None:
    assignment = match(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
    assert assignment.tolist() == [0]
    assert assignment.dtype == torch.int64
    assert slot_accuracy(assignment) == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reconstruction_that_is_not_finite_gets_what_is_left(bad: float) -> None:
    originals = torch.rand(4, 1, 4, 4)
    reconstructions = originals[[3, 0, 1, 2]].clone()
    reconstructions[2, 0, 0, 0] = bad
    assert match(reconstructions, originals).tolist() == [1, 2, 3, 0]


def test_all_reconstructions_broken_is_still_a_bijection() -> None:
    assignment = match(torch.full((3, 1, 4, 4), math.nan), torch.rand(3, 1, 4, 4))
    assert sorted(assignment.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 1, 4, 4)])
def test_shapes_that_differ_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must both be"):
        match(torch.zeros(shape), torch.zeros(3, 3, 4, 4))


def test_slot_accuracy_counts_fixed_points() -> None:
    assert slot_accuracy(torch.arange(5)) == 1.0
    assert slot_accuracy(torch.tensor([1, 0, 2, 3, 4])) == pytest.approx(0.6)
