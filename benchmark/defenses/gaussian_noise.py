"""Gaussian noise on every gradient entry."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.dlg import ZHU_2019
from gradinv.benchmark.defenses.base import Defense, register_defense


@register_defense("gaussian_noise", paper=ZHU_2019)
class GaussianNoise(Defense):
    """Add independent N(0, sigma^2) to every entry (Zhu et al. 2019, section 5.1); sigma 0 changes no bit."""

    def __init__(self, *, sigma: Annotated[float, Field(ge=0)] = 0.01) -> None:
        self.sigma = sigma

    # No `known`: the noise is not sent and zero on average, so that a candidate's expected update is the plain one.
    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The noisy update; drawn on the CPU, so that every device gets the same noise."""
        # Zeros are not added either: -0.0 + 0.0 is 0.0, and no bit is to change.
        if self.sigma == 0:
            return update
        return {
            name: value + self.sigma * torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
            for name, value in update.items()
        }
