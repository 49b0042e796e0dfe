"""Group consistency: agents with different seeds are drawn to their consensus (Yin et al. 2021, Eq. 11-12)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching.coupling import Bond, Coupling
from gradinv.attacks.leak import Reconstruction
from gradinv.metrics.image_size import sides
from gradinv.metrics.registration import LEAST_SIZE, align

ConsensusKind = Literal["registered", "lazy"]


@dataclass(frozen=True)
class GroupConsistency(Coupling):
    """Agents drawn to their consensus, by `weight` times their distance to it.

    From the share `start` of the steps on, and then every share `every` of them, the consensus is computed anew
    (paper: 5,000 and 100 of 20,000); in between it is constant. `consensus` lazy is the plain mean of the agents,
    registered the mean after alignment of each onto it. One agent has no consensus, and agents without weight are
    restarts; of both, too, only iterates from `start` on are selected, so that what is compared differs in one thing.
    `is_share`: the weight is what the penalty would be at the start, with the plain mean of the agents as consensus.
    """

    agents: int
    weight: float
    consensus: ConsensusKind
    start: float
    every: float
    is_share: bool = False

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Why images of that many pixels cannot be aligned; None where they can, or need not be."""
        if self.agents == 1 or self.consensus == "lazy" or min(sides(conditions.image_size)) >= LEAST_SIZE:
            return None
        return f"alignment needs images from {LEAST_SIZE} px on"

    def select_from(self, steps: int) -> int:
        """The step before which the first consensus is computed; the last one at the latest."""
        return min(round(self.start * steps), steps - 1)

    def bond(self, steps: int, labels: Tensor | None) -> "GroupBond":
        """A group without a consensus yet."""
        return GroupBond(self, steps, labels)


class GroupBond(Bond):
    """A group of agents on its way. `alignments` counts the accepted ones and, by reason, the rejected ones."""

    def __init__(self, group: GroupConsistency, steps: int, labels: Tensor | None) -> None:
        self.group, self.steps, self.labels = group, steps, labels
        self.alignments: Counter[str] = Counter()
        self.weight: Tensor | float = group.weight
        self._targets: Tensor | None = None

    def meet(self, agents: Tensor) -> None:
        """Find the weight of which the group's is a share; none where the agents start at one place."""
        if self.group.is_share:
            distance = distance_to(agents.mean(dim=0).expand_as(agents), agents).mean()
            length = distance_to(torch.zeros_like(agents), agents).mean()
            # Not against zero: the mean of equal numbers is rounded.
            self.weight = torch.where(distance > 1e-5 * length, self.group.weight / distance, 0.0)

    def is_due(self, step: int) -> bool:
        """Whether the consensus is computed before this step; never for one agent or without weight."""
        if self.group.agents == 1 or not self.group.weight:
            return False
        since = step - self.group.select_from(self.steps)
        # At least 1: of a small budget the share may round to no step at all.
        return since >= 0 and since % max(1, round(self.group.every * self.steps)) == 0

    def renew(self, agents: Tensor, latest: Sequence[float]) -> None:
        """Compute the consensus anew, in the slots of the agent that is best at the moment."""
        reference = min(range(len(latest)), key=latest.__getitem__)
        consensus = find_consensus(self.group.consensus, agents, self.labels, reference)
        self.alignments += consensus.alignments
        self._targets = consensus.targets

    def penalty(self, agents: Tensor) -> Tensor | None:
        """The weighted distance to the consensus, (G,); None before there is one."""
        return None if self._targets is None else self.weight * distance_to(self._targets, agents)

    def describe(self, reconstruction: Reconstruction, agents: Tensor, best: int) -> Reconstruction:
        """The result with the consensus of the selected iterates and their spread, in the slots of the best agent."""
        if self.group.agents == 1:
            return reconstruction
        # Computed for what is selected: the consensus that pulled last was of other iterates.
        agreement = find_consensus(self.group.consensus, agents, self.labels, best)
        return replace(
            reconstruction,
            consensus=agreement.images,
            spread=agreement.spread,
            alignments=dict(self.alignments),
        )


def distance_to(targets: Tensor, agents: Tensor) -> Tensor:
    """The l2 distance of each image to its target, averaged over the batch: (G,) of (G, B, C, H, W).

    Eq. 11 takes one norm over the whole batch; a mean over images does not grow with the batch.
    """
    # At zero PyTorch gives a norm the gradient zero: an image that is on its target already is left there.
    return torch.linalg.vector_norm((agents - targets).flatten(2), dim=2).mean(dim=1)


@dataclass(frozen=True)
class Consensus:
    """What the agents agree on: `images` (B, C, H, W) in the slots of the reference agent.

    `targets` (G, B, C, H, W) is the same in each agent's own slots. `spread` (B, C, H, W) is the standard deviation
    over the agents once aligned. `alignments` counts those accepted and those rejected, by reason.
    """

    images: Tensor
    targets: Tensor
    spread: Tensor
    alignments: Counter[str] = field(default_factory=Counter)


@torch.no_grad()
def find_consensus(kind: ConsensusKind, agents: Tensor, labels: Tensor | None, reference: int) -> Consensus:
    """The consensus of agents (G, B, C, H, W) with labels (B,), or None where each agent optimises its own.

    Images of equal labels may stand in any order: before averaging each agent's are permuted within equal labels onto
    those of the agent `reference`. An agent with values that are not finite takes no part.
    """
    is_finite = agents.flatten(1).isfinite().all(dim=1)
    # The assignment needs numbers even for an agent that takes no part.
    orders = slot_orders(agents.nan_to_num(), labels, reference)
    taking_part = _permuted(agents, orders)[is_finite]
    alignments: Counter[str] = Counter()
    if kind == "lazy":
        aligned, coverage = taking_part, torch.ones_like(taking_part[:, :, :1])
    else:
        aligned, coverage, alignments = _aligned(taking_part)
    images = _mean(aligned, coverage)
    spread = _mean((aligned - images).square(), coverage).sqrt()
    # argsort inverts a permutation: every agent gets the consensus in the order in which it holds the images itself.
    targets = _permuted(images.expand_as(agents), orders.argsort(dim=1))
    return Consensus(images, targets, spread, alignments)


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
    classes = torch.zeros(batch) if labels is None else labels.cpu()
    slots_by_class = [torch.nonzero(classes == label).flatten() for label in classes.unique()]
    return [slots for slots in slots_by_class if len(slots) > 1]


def _permuted(agents: Tensor, orders: Tensor) -> Tensor:
    """Each agent's images in an order of its own, (G, B)."""
    return torch.stack([images[slots] for images, slots in zip(agents, orders, strict=True)])


def _aligned(agents: Tensor) -> tuple[Tensor, Tensor, Counter[str]]:
    """Every image of every agent, aligned onto the pixel-wise mean of the agents, with its coverage."""
    mean = agents.mean(dim=0).expand_as(agents)
    alignment = align(agents.flatten(0, 1), mean.flatten(0, 1))
    shape = agents.shape[:2]
    counted = Counter(reason or "accepted" for reason in alignment.reasons)
    return alignment.images.unflatten(0, shape), alignment.coverage.to(agents.dtype).unflatten(0, shape), counted


def _mean(values: Tensor, coverage: Tensor) -> Tensor:
    """Mean over the agents that cover a pixel, over all of them where none does."""
    covered = coverage.sum(dim=0)
    # The clamp only keeps 0 / 0 out of the pixels that are replaced below.
    weighted = (values * coverage).sum(dim=0) / covered.clamp(min=1)
    return torch.where(covered > 0, weighted, values.mean(dim=0))
