"""The matching against all permutations of its cost, and what neither noise nor contrast can do to it."""

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from skimage.transform import downscale_local_mean
from torch import Tensor

from gradinv.benchmark.datasets import create_dataset, draw_batch
from gradinv.metrics.images.matching import match, slot_accuracy
from gradinv.metrics.images.psnr import psnr


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def centred(image: Tensor) -> np.ndarray:
    """An image of at most 16 pixels a side, every channel without its mean, as a vector of norm 1; zeros if flat."""
    values = image.double().numpy()
    apart = values - values.mean((1, 2), keepdims=True)
    norm = np.linalg.norm(apart)
    return apart.ravel() / norm if norm > 1e-4 * math.sqrt(apart.size) else np.zeros(apart.size)


def stated_cost(reconstruction: Tensor, original: Tensor) -> float:
    """What the description of `match` says of a pair; images of at most 16 pixels are their own low pass."""
    correlation = centred(reconstruction) @ centred(original)
    return 1 - correlation + float((reconstruction - original).double().square().mean())


def total(assignment: tuple[int, ...], reconstructions: Tensor, originals: Tensor) -> float:
    return sum(stated_cost(reconstructions[index], originals[slot]) for slot, index in enumerate(assignment))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (4, 3, 8, 8), (4, 1, 16, 16), (5, 1, 2, 2)])
def test_no_permutation_has_a_smaller_cost(seed: int, shape: tuple[int, ...]) -> None:
    originals, reconstructions = (torch.rand(shape, generator=generator(2 * seed + part)) for part in range(2))
    assignment = match(reconstructions, originals)
    every = {order: total(order, reconstructions, originals) for order in permutations(range(shape[0]))}
    assert assignment.dtype == torch.int64
    assert tuple(assignment.tolist()) == min(every, key=every.get)


@pytest.mark.parametrize("wide", [4, 6])
def test_larger_images_are_compared_by_their_low_pass(wide: int) -> None:
    """Means over 4 x 4 or 4 x 6 pixels, by scikit-image, are near enough to the antialiased ones to say the same."""
    originals = torch.rand(4, 3, 16, 16, generator=generator()).repeat_interleave(4, 2).repeat_interleave(wide, 3)
    noise = torch.randn(originals.shape, generator=generator(1))
    reconstructions = (originals[[2, 0, 3, 1]] + 0.7 * noise).clamp(0, 1)
    small = [
        torch.stack([torch.from_numpy(downscale_local_mean(image.numpy(), (1, 4, wide))) for image in images])
        for images in (reconstructions, originals)
    ]
    every = {order: total(order, *small) for order in permutations(range(4))}
    assert tuple(match(reconstructions, originals).tolist()) == min(every, key=every.get) == (1, 3, 0, 2)


@pytest.fixture(scope="module")
def batches() -> list[Tensor]:
    """Eight batches of eight photographs."""
    dataset = create_dataset("photos", 32)
    return [draw_batch(dataset, repetition=repetition, batch_size=8).images for repetition in range(8)]


def noisy(images: Tensor, strength: float = 0.5) -> Tensor:
    return (images + strength * torch.randn(images.shape, generator=generator(1))).clamp(0, 1)


def chequered(images: Tensor) -> Tensor:
    places = torch.arange(images.shape[-1])
    return (images + 0.6 * (1.0 - 2 * ((places[:, None] + places) % 2))).clamp(0, 1)


def gained(images: Tensor) -> Tensor:
    """Another contrast, brightness and colour for every image: what makes the darkest nearest to all the others."""
    gain = 0.2 + 0.8 * torch.rand(len(images), 1, 1, 1, generator=generator(2))
    offset = 0.6 * torch.rand(len(images), 3, 1, 1, generator=generator(3)) - 0.1
    return (gain * images + offset).clamp(0, 1)


def saturated(images: Tensor) -> Tensor:
    return (0.5 + 5 * (images - images.mean((2, 3), keepdim=True))).clamp(0, 1)


def share_right(batches: list[Tensor], disturb: Callable[[Tensor], Tensor], matching: Callable = match) -> float:
    right = []
    for seed, originals in enumerate(batches):
        order = torch.randperm(len(originals), generator=generator(seed))
        found = matching(disturb(originals)[order], originals)
        right.append((order[found] == torch.arange(len(order))).double().mean())
    return float(np.mean(right))


def by_squared_error(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """The matching that this one replaced."""
    cost = (originals[:, None] - reconstructions).square().mean((2, 3, 4))
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


@pytest.mark.parametrize(
    ("disturb", "least"),
    [
        (noisy, 0.95),
        (chequered, 1.0),
        (gained, 1.0),
        (saturated, 0.95),
        (lambda images: noisy(gained(images), 0.3), 0.9),
        (lambda images: chequered(gained(images)), 0.95),
    ],
)
def test_permutations_are_found_under_what_attacks_leave(batches, disturb, least) -> None:
    assert share_right(batches, disturb) >= least


def test_the_squared_error_alone_would_be_fooled_by_contrast(batches) -> None:
    assert share_right(batches, gained, by_squared_error) < 0.8


@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 1, 8, 8), (3, 3, 40, 40)])
def test_a_three_cycle_of_exact_copies_is_perfect(shape: tuple[int, ...]) -> None:
    originals = torch.rand(shape, generator=generator())
    reconstructions = originals[[1, 2, 0]]
    assignment = match(reconstructions, originals)
    assert psnr(reconstructions[assignment], originals).tolist() == [math.inf] * 3
    assert assignment.tolist() == [2, 0, 1]
    assert slot_accuracy(assignment) == 0.0


def test_copies_that_differ_in_brightness_or_contrast_alone_are_told_apart() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=generator())
    originals = torch.cat([0.4 * picture, 0.4 * picture + 0.5, 0.9 * picture, 0.1 * picture + 0.2])
    assert match(originals[[3, 1, 0, 2]], originals).tolist() == [2, 1, 3, 0]


def test_one_image_matches_itself() -> None:
    assignment = match(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
    assert assignment.tolist() == [0]
    assert assignment.dtype == torch.int64
    assert slot_accuracy(assignment) == 1.0


@pytest.mark.parametrize("size", [4, 32])
def test_constant_images_are_matched_by_their_brightness(size: int) -> None:
    greys = torch.tensor([0.1, 0.9, 0.5, 0.3]).view(4, 1, 1, 1).expand(4, 3, size, size)
    assert match(greys[[2, 0, 3, 1]], greys).tolist() == [1, 3, 0, 2]
    # A flat one among pictures says nothing: it gets what the others leave.
    originals = torch.rand(3, 3, size, size, generator=generator())
    assert match(torch.cat([greys[:1], originals[[2, 0]]]), originals).tolist() == [2, 0, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [4, 32])
def test_a_reconstruction_that_is_not_finite_gets_what_is_left(bad: float, size: int) -> None:
    originals = torch.rand(4, 1, size, size, generator=generator())
    reconstructions = originals[[3, 0, 1, 2]].clone()
    reconstructions[2, 0, 0, 0] = bad
    assert match(reconstructions, originals).tolist() == [1, 2, 3, 0]


def test_it_is_the_worst_even_beside_an_inverted_one() -> None:
    originals = torch.rand(2, 1, 8, 8, generator=generator())
    reconstructions = torch.stack([torch.full((1, 8, 8), math.nan), 1 - originals[0]])
    # Inverted is the worst finite picture of its original; so the broken one must not be preferred to it elsewhere.
    costs = [stated_cost(reconstructions[1], original) for original in originals]
    assert match(reconstructions, originals).tolist()[int(np.argmin(costs))] == 1


def test_all_reconstructions_broken_is_still_a_bijection() -> None:
    assignment = match(torch.full((3, 1, 4, 4), math.nan), torch.rand(3, 1, 4, 4, generator=generator()))
    assert sorted(assignment.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 1, 4, 4)])
def test_shapes_that_differ_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must both be"):
        match(torch.zeros(shape), torch.zeros(3, 3, 4, 4))


def test_slot_accuracy_counts_fixed_points() -> None:
    assert slot_accuracy(torch.arange(5)) == 1.0
    assert slot_accuracy(torch.tensor([1, 0, 2, 3, 4])) == pytest.approx(0.6)
