"""Group consistency: agents with different seeds are drawn to their consensus (Yin et al. 2021, Eq. 11-12)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gradinv.metrics.registration.align import LEAST_SIZE, align


@dataclass(frozen=True)
class Group:
    """How many agents descend together, and what draws them to each other.

    From the share `start` of the steps on, and then every share `every` of them, the consensus is computed anew
    (paper: 5,000 and 100 of 20,000); in between it is constant. `consensus` lazy is the plain mean of the agents,
    registered the mean after registration of each onto it.
    """

    agents: int
    weight: float
    consensus: Literal["registered", "lazy"]
    start: float
    every: float

    def reason_to_skip(self, image_size: int) -> str | None:
        """Why images of that many pixels cannot be registered; None where they can, or need not be."""
        if self.agents == 1 or self.consensus == "lazy" or image_size >= LEAST_SIZE:
            return None
        return f"registration needs images from {LEAST_SIZE} px on"

    def first(self, steps: int) -> int:
        """The step before which the first consensus is computed."""
        return min(round(self.start * steps), steps - 1)

    def is_due(self, step: int, steps: int) -> bool:
        """Whether the consensus is computed before this step; never for one agent or without weight."""
        if self.agents == 1 or not self.weight:
            return False
        since = step - self.first(steps)
        return since >= 0 and since % max(1, round(self.every * steps)) == 0

    def penalty(self, images: Tensor, consensus: Tensor) -> Tensor:
        """Weight times the l2 distance of each image to its consensus, averaged over the batch: (N,) of (N, B, ...).

        Eq. 11 takes one norm over the whole batch; a mean over images does not grow with the batch.
        """
        return self.weight * torch.linalg.vector_norm((images - consensus).flatten(2), dim=2).mean(dim=1)

    @torch.enable_grad()
    def pull(self, images: Tensor, consensus: Tensor) -> tuple[Tensor, Tensor]:
        """The penalties (N,) and their gradients for the images (N, B, C, H, W)."""
        leaves = images.detach().requires_grad_(True)
        penalties = self.penalty(leaves, consensus)
        return penalties.detach(), torch.autograd.grad(penalties.sum(), leaves)[0]


@dataclass(frozen=True)
class Consensus:
    """What the agents agree on: `images` (B, C, H, W) in the slots of the reference agent.

    `targets` (G, B, C, H, W) is the same in each agent's own slots. `spread` (B, C, H, W) is the standard deviation
    over the agents after registration. `registrations` counts those accepted and those rejected, by reason.
    """

    images: Tensor
    targets: Tensor
    spread: Tensor
    registrations: Counter[str] = field(default_factory=Counter)


@torch.no_grad()
def find_consensus(group: Group, agents: Tensor, labels: Tensor | None, reference: int) -> Consensus:
    """The consensus of agents (G, B, C, H, W) with labels (B,), or None where each agent optimises its own.

    Images of equal labels may stand in any order: before averaging each agent's are permuted within equal labels onto
    those of the agent `reference`. An agent with values that are not finite takes no part.
    """
    finite = agents.flatten(1).isfinite().all(dim=1)
    order = slot_orders(agents.nan_to_num(), labels, reference)
    taking_part = _permuted(agents, order)[finite]
    registrations: Counter[str] = Counter()
    if group.consensus == "lazy":
        aligned, coverage = taking_part, torch.ones_like(taking_part[:, :, :1])
    else:
        aligned, coverage, registrations = _registered(group, taking_part)
    images = _mean(aligned, coverage)
    spread = _mean((aligned - images).square(), coverage).sqrt()
    targets = _permuted(images.expand_as(agents), order.argsort(dim=1))
    return Consensus(images, targets, spread, registrations)


def slot_orders(agents: Tensor, labels: Tensor | None, reference: int) -> Tensor:
    """For each agent and each slot of the reference, the agent's slot that holds the same image: int64 (G, B).

    Slots trade places only within equal labels, freely where `labels` is None; the sum of squared differences is
    smallest (Kuhn 1955, "The Hungarian method for the assignment problem").

    >>> agents = torch.arange(2.0).view(1, 2, 1, 1, 1).repeat(2, 1, 1, 1, 1)
    >>> slot_orders(torch.stack([agents[0], agents[1].flip(0)]), torch.tensor([7, 7]), reference=0).tolist()
    [[0, 1], [1, 0]]
    """
    count, batch = agents.shape[:2]
    orders = torch.arange(batch, device=agents.device).repeat(count, 1)
    for slots in _exchangeable(batch, labels):
        for agent in range(count):
            if agent != reference:
                distances = torch.cdist(agents[reference, slots].flatten(1), agents[agent, slots].flatten(1)).square()
                _, chosen = linear_sum_assignment(distances.double().cpu().numpy())
                orders[agent, slots] = slots[torch.as_tensor(chosen)].to(orders.device)
    return orders


def _exchangeable(batch: int, labels: Tensor | None) -> Sequence[Tensor]:
    """The sets of two or more slots that may trade places."""
    known = torch.zeros(batch) if labels is None else labels.cpu()
    groups = [torch.nonzero(known == label).flatten() for label in known.unique()]
    return [slots for slots in groups if len(slots) > 1]


def _permuted(agents: Tensor, order: Tensor) -> Tensor:
    """Each agent's slots in its own order (G, B)."""
    return torch.stack([images[slots] for images, slots in zip(agents, order, strict=True)])


def _registered(group: Group, agents: Tensor) -> tuple[Tensor, Tensor, Counter[str]]:
    """Every image of every agent, registered onto the pixel-wise mean of the agents, with its coverage."""
    mean = agents.mean(dim=0).expand_as(agents)
    alignment = align(agents.flatten(0, 1), mean.flatten(0, 1))
    shape = agents.shape[:2]
    counted = Counter(reason or "accepted" for reason in alignment.reasons)
    return alignment.images.unflatten(0, shape), alignment.coverage.to(agents.dtype).unflatten(0, shape), counted


def _mean(values: Tensor, coverage: Tensor) -> Tensor:
    """Mean over the agents that cover a pixel, over all of them where none does."""
    covered = coverage.sum(dim=0)
    weighted = (values * coverage).sum(dim=0) / covered.clamp(min=1)
    return torch.where(covered > 0, weighted, values.mean(dim=0))
