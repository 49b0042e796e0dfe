"""CENSOR: a random direction orthogonal to the gradient, layer by layer."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.attacks.update import cross_entropy
from gradinv.attacks.victim import call_with
from gradinv.benchmark.defenses.base import ClientStep, Defense, register_defense

ZHANG_2025 = Paper(
    title="CENSOR: Defense Against Gradient Inversion via Orthogonal Subspace Bayesian Sampling",
    authors="Kaiyuan Zhang, Siyuan Cheng, Guangyu Shen, Bruno Ribeiro, Shengwei An, Pin-Yu Chen, Xiangyu Zhang, "
    "Ninghui Li",
    venue="NDSS 2025",
    year=2025,
    url="https://arxiv.org/abs/2501.15718",
)


@register_defense("censor", paper=ZHANG_2025)
class Censor(Defense):
    """Send, for each tensor g, a random direction orthogonal to it at its length (Zhang et al. 2025, section IV).

    v - (v.g / ||g||^2) g for standard normal v, rescaled to ||g||; of `trials` such updates the one is sent under which
    the loss of the batch is least after a step of `step`. A tensor of one entry has no orthogonal direction: zero.
    What is sent carries no first-order descent: its cosine with the gradient is 0, which is the price.
    """

    randomises = True
    knowable = "that each layer of the true gradient is orthogonal to what is sent, and as long"
    unanswered = (
        "of each tensor one equation is left, that the gradient is orthogonal to what was sent, and its length: as "
        "many numbers as tensors, for thousands of pixels"
    )
    cost = "the whole direction of descent; `trials` forward passes a round"
    grid = ("censor[trials=1]", "censor[trials=20]", "censor[trials=100]")
    never_neutral = "what is orthogonal to the gradient is never the gradient"

    def __init__(self, *, trials: Annotated[int, Field(ge=1)] = 20, step: Annotated[float, Field(gt=0)] = 1e-4) -> None:
        self.trials, self.step = trials, step

    def on_step(self, update: dict[str, Tensor], step: ClientStep, generator: Generator) -> dict[str, Tensor]:
        """The orthogonal update that the loss likes best."""
        best, least = update, float("inf")
        for index in range(self.trials):
            drawn = {name: _orthogonal(value, generator) for name, value in update.items()}
            loss = self._loss(drawn, step)
            # The first one always: a loss that is not a number must not let the gradient itself through.
            if index == 0 or loss < least:
                best, least = drawn, loss
        return best

    @torch.no_grad()
    def _loss(self, update: dict[str, Tensor], step: ClientStep) -> float:
        weights = dict(step.module.named_parameters())
        moved = {name: weights[name] - self.step * value for name, value in update.items()}
        return float(cross_entropy(call_with(step.module, moved, step.images), step.labels))


def _orthogonal(gradient: Tensor, generator: Generator) -> Tensor:
    """A random tensor of the gradient's length, orthogonal to it; zero where there is none."""
    if gradient.numel() == 1 or not gradient.any():
        return torch.zeros_like(gradient)
    drawn = torch.randn(gradient.shape, generator=generator, dtype=torch.float64).to(gradient.device)
    direction = gradient.double() / torch.linalg.vector_norm(gradient.double())
    # Twice: what rounding leaves of the direction after the first time is gone after the second.
    for _ in range(2):
        drawn = drawn - (drawn * direction).sum() * direction
    length = torch.linalg.vector_norm(gradient.double())
    return (drawn * (length / torch.linalg.vector_norm(drawn))).to(gradient.dtype)
