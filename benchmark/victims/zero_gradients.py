"""How much of a network gets no gradient at all: what an attack can learn nothing from."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def zero_gradient_share(gradients: Iterable[Tensor]) -> float:
    """Share of the parameters, in [0, 1], that lie in tensors whose gradient is exactly zero.

    >>> zero_gradient_share([torch.zeros(3), torch.tensor([0.0])])
    1.0
    >>> zero_gradient_share([torch.zeros(3), torch.tensor([0.5])])
    0.75
    """
    sizes = [(gradient.numel(), bool(gradient.any())) for gradient in gradients]
    return sum(size for size, is_alive in sizes if not is_alive) / sum(size for size, _ in sizes)


def gradients_of_noise(module: nn.Module, image_size: int) -> tuple[Tensor, ...]:
    """The gradients of the trainable parameters for two seeded random images of classes 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, image_size, image_size, generator=generator)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    loss = nn.functional.cross_entropy(module(images), torch.tensor([0, 1]))
    return torch.autograd.grad(loss, parameters, materialize_grads=True)
