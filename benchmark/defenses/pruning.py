"""Pruning of the smallest gradient entries."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.dlg import ZHU_2019
from gradinv.benchmark.defenses.base import Defense, register_defense


@register_defense("pruning", paper=ZHU_2019)
class Pruning(Defense):
    """Set the share `ratio` of entries with the smallest magnitude to zero, over all tensors together.

    Gradient compression as a defense (Zhu et al. 2019, section 5.3). Exactly floor(ratio * n) entries of n are zeroed,
    of equal ones those that come first; ratio 0 changes no bit.
    """

    def __init__(self, *, ratio: Annotated[float, Field(ge=0, le=1)] = 0.9) -> None:
        self.ratio = ratio

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The pruned update."""
        flat = torch.cat([value.reshape(-1) for value in update.values()])
        count = int(self.ratio * flat.numel())
        if count == 0:
            return update
        kept = flat.clone()
        # Ranked and not cut at a threshold, which would keep or lose equal magnitudes together and miss the count.
        kept[flat.abs().argsort(stable=True)[:count]] = 0
        parts = kept.split([value.numel() for value in update.values()])
        return {name: part.reshape(value.shape) for (name, value), part in zip(update.items(), parts, strict=True)}

    def known(self) -> str:
        """A mask: which entries were pruned shows in what is sent."""
        return "masked"
