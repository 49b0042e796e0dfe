"""Alignment of 64 pairs, timed: `tox -e bench`. Read ratios within one run, never seconds between machines."""

import pytest
import torch
from torch.nn import functional as F

from gradinv.metrics.registration.alignment import align


def noisy_pairs(count, size):
    """Smooth random images, and the same images moved by 3 % with noise."""
    generator = torch.Generator().manual_seed(0)
    large = F.interpolate(torch.rand(count, 3, 20, 20, generator=generator), scale_factor=size / 16, mode="bicubic")
    shift = round(0.03 * size)
    fixed, moving = large[..., :size, :size], large[..., shift : size + shift, shift : size + shift]
    return moving + 0.1 * torch.randn(moving.shape, generator=generator), fixed


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.benchmark(group="aligning 64 pairs")
def test_direct(benchmark, size):
    alignment = benchmark.pedantic(align, args=noisy_pairs(64, size), rounds=3)
    assert alignment.accepted.all()


@pytest.mark.benchmark(group="aligning a pair of 224 px")
def test_pair(benchmark):
    benchmark.pedantic(align, args=noisy_pairs(1, 224), rounds=3)
