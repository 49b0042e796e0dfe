"""How much of a network gets no gradient at all: what an attack can learn nothing from."""

from collections.abc import Iterable

import torch
from torch import Tensor


def zero_gradient_share(gradients: Iterable[Tensor]) -> float:
    """Share of the parameters, in [0, 1], that lie in tensors whose gradient is exactly zero.

    >>> zero_gradient_share([torch.zeros(3), torch.tensor([0.0])])
    1.0
    >>> zero_gradient_share([torch.zeros(3), torch.tensor([0.5])])
    0.75
    """
    sizes = [(gradient.numel(), bool(gradient.any())) for gradient in gradients]
    return sum(size for size, is_alive in sizes if not is_alive) / sum(size for size, _ in sizes)


def noise_images(image_shape: tuple[int, int, int]) -> Tensor:
    """Two seeded random images (2, C, H, W), on which a network is tried before it is attacked."""
    return torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0))
