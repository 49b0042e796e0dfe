"""Outpost: pruning, and noise where the information is, by the spread of each layer's weights."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import ClientStep, Defense, register_defense
from gradinv.benchmark.defenses.whole_update import mask_before

WANG_2023 = Paper(
    title="More than Enough is Too Much: Adaptive Defenses against Gradient Leakage in Production Federated Learning",
    authors="Fei Wang, Ethan Hugh, Baochun Li",
    venue="INFOCOM 2023",
    year=2023,
    url="https://ieeexplore.ieee.org/document/10228919",
)


@register_defense("outpost", paper=WANG_2023)
class Outpost(Defense):
    """Prune each tensor's small entries and add noise to its large ones (Wang et al. 2023).

    A tensor's risk is the variance of its weights, at most 1. The share `pruned` of smallest magnitude is zeroed; the
    share `noised` of largest square (the diagonal of the empirical Fisher information) gets N(0, (`scale` risk)^2). All
    that happens with probability 1 / (1 + `beta` `iteration`): always in the first round. Scale 0 with nothing pruned
    changes no bit.
    """

    randomises = True
    acts = ("update",)
    knowable = "which entries were zeroed, the weights and so each layer's risk; never the draw"
    cost = "the small entries, and the accuracy of the large ones, in the first rounds most of all"
    grid = ("outpost[scale=0.2]", "outpost[scale=0.8]", "outpost[scale=3.2]")
    neutral = "outpost[pruned=0,scale=0]"

    def __init__(
        self,
        *,
        scale: Annotated[float, Field(ge=0)] = 0.8,
        noised: Annotated[float, Field(gt=0, le=1)] = 0.4,
        pruned: Annotated[float, Field(ge=0, lt=1)] = 0.8,
        beta: Annotated[float, Field(ge=0)] = 0.125,
        iteration: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.scale, self.noised, self.pruned = scale, noised, pruned
        self.probability = 1 / (1 + beta * iteration)

    def on_step(self, update: dict[str, Tensor], step: ClientStep, generator: Generator) -> dict[str, Tensor]:
        """The perturbed tensors; the update itself in a round that is left alone."""
        if torch.rand((), generator=generator) >= self.probability:
            return update
        weights = dict(step.module.named_parameters())
        return {name: self._perturbed(value, weights[name].detach(), generator) for name, value in update.items()}

    def _perturbed(self, value: Tensor, weight: Tensor, generator: Generator) -> Tensor:
        order = value.abs().reshape(-1).argsort(stable=True)
        result = value.reshape(-1).clone()
        result[order[: int(self.pruned * len(order))]] = 0
        # Not the unbiased variance, which of a tensor of one weight is no number.
        deviation = self.scale * min(1.0, float(weight.var(correction=0)))
        if deviation:
            largest = order[len(order) - int(self.noised * len(order)) :]
            noise = torch.randn(len(largest), generator=generator, dtype=value.dtype)
            result[largest] += deviation * noise.to(value.device)
        return result.reshape(value.shape)

    def known(self) -> str:
        """A mask: what was pruned and got no noise shows in what is sent."""
        return self.known_before([])

    def known_before(self, later: Sequence[Defense]) -> str:
        """The same where no later defense fills the zeros."""
        return mask_before(later)
