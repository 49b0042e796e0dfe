"""Pairs of images that every metric is tested on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def noisy_pair(size: tuple[int, int] = (32, 32), channels: int = 3, batch: int = 3, noise: float = 0.1) -> Pair:
    """Noisy reconstructions and smooth originals."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, channels, 5, 5, generator=generator)
    originals = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    reconstructions = (originals + noise * torch.randn(originals.shape, generator=generator)).clamp(0, 1)
    return reconstructions, originals


def as_arrays(pair: Pair) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pair of batches as (H, W, C) arrays of doubles, image by image."""
    made, true = (images.double().permute(0, 2, 3, 1).numpy() for images in pair)
    return list(zip(made, true, strict=True))


@pytest.fixture
def pair() -> Callable[..., Pair]:
    """`pair(size, channels, batch, noise)`: reconstructions and originals."""
    return noisy_pair


@pytest.fixture
def arrays() -> Callable[[Pair], list[tuple[np.ndarray, np.ndarray]]]:
    """`arrays(pair)`: the pair as NumPy arrays, image by image."""
    return as_arrays
