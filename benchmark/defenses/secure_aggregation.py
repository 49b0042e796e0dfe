"""Secure aggregation: the server sees the mean over clients and none of their updates."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import ClientStep, Defense, UndefendableError, register_defense

BONAWITZ_2017 = Paper(
    title="Practical Secure Aggregation for Privacy-Preserving Machine Learning",
    authors="Keith Bonawitz, Vladimir Ivanov, Ben Kreuter, Antonio Marcedone, H. Brendan McMahan, Sarvar Patel, "
    "Daniel Ramage, Aaron Segal, Karn Seth",
    venue="CCS 2017",
    year=2017,
    url="https://eprint.iacr.org/2017/281",
)


@register_defense("secure_aggregation", paper=BONAWITZ_2017)
class SecureAggregation(Defense):
    """The private batch is `clients` clients' equal parts, and only the mean of their updates is seen.

    What is modelled is the sum that the protocol of Bonawitz et al. 2017 reveals, no cryptography. In eval mode it is
    the update of the whole batch up to rounding: aggregation protects by the company, so that its row is to be set
    beside one of batch size B / clients without it. In train mode every client has batch statistics of its own. One
    client changes no bit.
    """

    computes_update = True
    acts = ("update",)
    knowable = "everything: the attacker attacks the mean, as if one client had all the images"
    unanswered = "what is sent is the update of all images, which any attack matches; there is nothing to undo"
    cost = "masks agreed between clients a round; nothing of the update"
    grid = ("secure_aggregation[clients=2]", "secure_aggregation[clients=4]", "secure_aggregation[clients=8]")
    neutral = "secure_aggregation[clients=1]"

    def __init__(self, *, clients: Annotated[int, Field(ge=1)] = 4) -> None:
        self.clients = clients

    def on_step(self, update: dict[str, Tensor], step: ClientStep, generator: Generator) -> dict[str, Tensor]:
        """The mean of the clients' updates."""
        if self.clients == 1:
            return update
        if len(step.images) % self.clients:
            raise UndefendableError(f"{self.clients} clients cannot have equal parts of {len(step.images)} images")
        # Of equal size, so that the mean of the clients' means is the mean over all images.
        parts = zip(step.images.chunk(self.clients), step.labels.chunk(self.clients), strict=True)
        drawn = [
            {name: value.chunk(self.clients)[i] for name, value in step.drawn.items()} for i in range(self.clients)
        ]
        updates = [step.compute(*part, noise) for part, noise in zip(parts, drawn, strict=True)]
        return {name: torch.stack([each[name] for each in updates]).mean(dim=0) for name in update}
