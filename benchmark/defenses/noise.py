"""Noise on every entry of the update: Gaussian and Laplace, absolute or relative to the update's norm."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.dlg import ZHU_2019
from gradinv.benchmark.defenses.base import Defense, register_defense
from gradinv.benchmark.defenses.whole_update import entries_of, whole_norm


class _Noise(Defense):
    """Independent noise of zero mean on every entry.

    The scale is `size`, or with `relative` that share of the update's norm spread over its n entries: size * norm /
    sqrt(n), so that noise of size 1 and deviation 1 is about as long as the update.
    """

    randomises = True
    knowable = "distribution and scale; never the draw. The noise is zero on average, so the plain update is expected"
    unanswered = (
        "the noise is zero on average and not sent, so that the expected distance is the plain one and a constant, and "
        "one update has nothing to average over; estimating the scale moves no minimum, only the weight of a prior"
    )
    cost = "the update's accuracy; n draws a round"

    size: float
    relative: bool

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The noisy update; drawn on the CPU, so that every device gets the same noise."""
        # Zeros are not added either: -0.0 + 0.0 is 0.0, and no bit is to change.
        if self.size == 0:
            return update
        share = float(whole_norm(update)) / math.sqrt(entries_of(update)) if self.relative else 1.0
        scale = self.size * share
        return {name: value + (scale * self.draw(value, generator)).to(value) for name, value in update.items()}

    def draw(self, like: Tensor, generator: Generator) -> Tensor:
        """Noise of scale 1 in the shape of a tensor, on the CPU."""
        raise TypeError(f"{type(self).__name__} has no draw method")


@register_defense("gaussian_noise", paper=ZHU_2019)
class GaussianNoise(_Noise):
    """Add independent N(0, sigma^2) to every entry (Zhu et al. 2019, section 5.1); sigma 0 changes no bit.

    With `relative`, the deviation is sigma * norm of the update / sqrt(number of entries).
    """

    grid = ("gaussian_noise[sigma=0.001]", "gaussian_noise[sigma=0.01]", "gaussian_noise[sigma=0.1]")
    neutral = "gaussian_noise[sigma=0]"

    def __init__(self, *, sigma: Annotated[float, Field(ge=0)] = 0.01, relative: bool = False) -> None:
        self.size, self.relative = sigma, relative

    def draw(self, like: Tensor, generator: Generator) -> Tensor:
        """Standard normal noise."""
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)


@register_defense("laplace_noise", paper=ZHU_2019)
class LaplaceNoise(_Noise):
    """Add independent Laplace noise of scale b to every entry (Zhu et al. 2019, section 5.1): deviation sqrt(2) b.

    Scale 0 changes no bit. With `relative`, b = scale * norm of the update / sqrt(number of entries).
    """

    grid = ("laplace_noise[scale=0.001]", "laplace_noise[scale=0.01]", "laplace_noise[scale=0.1]")
    neutral = "laplace_noise[scale=0]"

    def __init__(self, *, scale: Annotated[float, Field(ge=0)] = 0.01, relative: bool = False) -> None:
        self.size, self.relative = scale, relative

    def draw(self, like: Tensor, generator: Generator) -> Tensor:
        """Laplace noise of scale 1: the difference of two exponential draws."""
        # By two logarithms, and not by the inverse distribution function: that is infinite at a uniform draw of 0.
        first, second = (torch.empty(like.shape, dtype=like.dtype).exponential_(generator=generator) for _ in range(2))
        return first - second
