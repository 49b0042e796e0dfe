"""A small vision transformer of timm's, with norm and skip as all of them have, and what a client sends of it."""

from collections.abc import Callable

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from gradinv.benchmark.datasets import create_dataset, draw_batch


@pytest.fixture
def transformer() -> Callable[..., nn.Module]:
    """`transformer(size=8)`: untrained, patches of 4 pixels, two blocks, a class token, learnt positions."""

    def make(size: int = 8) -> nn.Module:
        torch.manual_seed(0)
        network = VisionTransformer(
            img_size=size, patch_size=4, embed_dim=64, depth=2, num_heads=4, num_classes=5
        ).eval()
        for block in network.blocks:
            block.attn.fused_attn = False  # has no second derivative; the benchmark's victims have it off too
        return network

    return make


@pytest.fixture
def photographs() -> Callable[..., Tensor]:
    """`photographs(repetition=0, size=8)`: one of `photos` (1, 3, size, size), normalised as `make_leak` says."""

    def draw(repetition: int = 0, size: int = 8) -> Tensor:
        images = draw_batch(create_dataset("photos", size), repetition=repetition, batch_size=1).images
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3)))
        return (images - mean) / std

    return draw
