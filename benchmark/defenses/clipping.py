"""Clipping of the whole gradient's norm."""

from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import Defense, register_defense
from gradinv.benchmark.defenses.whole_update import whole_norm
from gradinv.metrics.keys import UNBOUNDED

ABADI_2016 = Paper(
    title="Deep Learning with Differential Privacy",
    authors="Martín Abadi, Andy Chu, Ian Goodfellow, H. Brendan McMahan, Ilya Mironov, Kunal Talwar, Li Zhang",
    venue="CCS 2016",
    year=2016,
    url="https://arxiv.org/abs/1607.00133",
)


@register_defense("clipping", paper=ABADI_2016)
class Clipping(Defense):
    """Scale the gradient of the batch down to an l2 norm of at most `max_norm`, over all entries together.

    The clipping rule of Abadi et al. 2016 (Algorithm 1), applied to the batch's mean gradient; `dp_sgd[sigma=0]` clips
    each example's. A gradient within the bound, and any gradient at `max_norm` inf, keeps every bit.
    """

    keeps_zeros = True
    knowable = "the bound; the factor shows in nothing that is sent, and the direction stays"
    cost = "a smaller step; the direction stays"
    grid = ("clipping[max_norm=4]", "clipping[max_norm=1]", "clipping[max_norm=0.1]")
    neutral = "clipping[max_norm=inf]"

    def __init__(self, *, max_norm: Annotated[float, Field(gt=0), UNBOUNDED] = 1.0) -> None:
        self.max_norm = max_norm

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The clipped update."""
        norm = whole_norm(update)
        if norm <= self.max_norm:
            return update
        return {name: value * (self.max_norm / norm) for name, value in update.items()}

    def known(self) -> str:
        """The same clipping, of a candidate's update."""
        # The bound is enough: the factor is not sent, and a candidate is scaled by its own norm.
        return f"clipped[max_norm={self.max_norm}]"
