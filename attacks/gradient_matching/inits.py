"""Where candidate images start, before they are brought into the pixel range."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gradinv.attacks.gradient_matching.parts import register_init


class Init:
    """Draws the images that one candidate starts from. A subclass fills in `images`."""

    def images(self, shape: tuple[int, int, int, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Normalised images of shape (B, C, H, W), on the CPU."""
        raise TypeError(f"{type(self).__name__} has no images method")


@register_init("normal")
class Normal(Init):
    """Standard normal values, each on its own."""

    def images(self, shape: tuple[int, int, int, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Normalised images of shape (B, C, H, W), on the CPU."""
        return torch.randn(shape, generator=generator, dtype=dtype)


@register_init("patterned")
class Patterned(Init):
    """A standard normal patch of `size` x `size` pixels an image, repeated over it (CPL, Wei et al. 2020, section 3.4).

    The last patches are cut off where the image's sides are no multiples of theirs.

    >>> images = Patterned(size=2).images((1, 1, 3, 3), torch.Generator().manual_seed(0), torch.float32)
    >>> torch.equal(images[..., :1, :], images[..., 2:, :])
    True
    """

    def __init__(self, *, size: Annotated[int, Field(ge=1)] = 4) -> None:
        self.size = size

    def images(self, shape: tuple[int, int, int, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Normalised images of shape (B, C, H, W), on the CPU."""
        *outer, height, width = shape
        patches = torch.randn(*outer, self.size, self.size, generator=generator, dtype=dtype)
        down, across = -(-height // self.size), -(-width // self.size)
        return patches.repeat(1, 1, down, across)[..., :height, :width].contiguous()
