"""Coupling: what holds the agents of one restart together, handed to an attack as one of its parts.

GradInversion's is in `group_consistency`. Another is one file: a `Coupling`, and the `Bond` that it makes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.leak import Reconstruction


class Bond(ABC):
    """The coupled agents of one restart of one trial; `agents` are always their images (G, B, C, H, W).

    It has the state of the coupling, so that trials side by side never share one.
    """

    def meet(self, agents: Tensor) -> None:  # noqa: B027 - most bonds do not depend on where agents start
        """Look at the agents where they start, before the first step; they may not be changed."""

    def is_due(self, step: int) -> bool:
        """Whether `renew` is to be called before this step (counted from 0): each call waits for the device."""
        return False

    def renew(self, agents: Tensor, latest: Sequence[float]) -> None:  # noqa: B027 - called only where `is_due` says so
        """Look at the agents and at their latest objectives, inf where not finite; neither may be changed."""

    @abstractmethod
    def penalty(self, agents: Tensor) -> Tensor | None:
        """What the agents should make small beside their objectives, (G,), differentiable; None: nothing yet.

        It moves the agents and has no part in which iterate, agent or restart is selected.
        """

    # The descent runs without a tape; only the penalty needs one.
    @torch.enable_grad()
    def pull(self, agents: Tensor) -> tuple[Tensor, Tensor] | None:
        """The penalties (G,) with their gradients for the agents; None while there are none."""
        leaves = agents.detach().requires_grad_(True)
        penalties = self.penalty(leaves)
        if penalties is None:
            return None
        # One backward pass for all: where a penalty depends on its own agent alone, it is that agent's own gradient.
        return penalties.detach(), torch.autograd.grad(penalties.sum(), leaves)[0]

    def describe(self, reconstruction: Reconstruction, agents: Tensor, best: int) -> Reconstruction:
        """The attack's result with what there is to say of the agents' agreement.

        `agents` are their selected iterates, `best` is the one whose iterate the reconstruction holds.
        """
        return reconstruction


class Coupling(ABC):
    """How many agents descend together and what couples them: hyperparameters only, shared by all trials."""

    agents: int

    @abstractmethod
    def bond(self, steps: int, labels: Tensor | None) -> Bond:
        """A bond for agents that take so many steps each; labels (B,), or None where each optimises its own."""

    def select_from(self, steps: int) -> int:
        """The step from which on iterates may be selected."""
        return 0

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Why the coupling is impossible under these conditions, in one line; None where it is possible."""
        return None
