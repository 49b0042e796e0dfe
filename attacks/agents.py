"""Agents: descents from different seeds, side by side, held together by their consensus."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from attacks.descent import Descent
from attacks.group import Consensus, Group, find_consensus
from attacks.objective import Objective


class Agents:
    """The agents of one restart. Each has its own start, noise, optimizer, gradient and batch-norm statistics.

    `together` evaluates all in one vectorised call, which costs their memory at once; otherwise they take turns.
    """

    def __init__(self, group: Group, descents: list[Descent], *, together: bool) -> None:
        self.group, self.descents, self.together = group, descents, together
        self.registrations: Counter[str] = Counter()
        self._steps = descents[0].evaluations

    @property
    def spent(self) -> int:
        """Evaluations of all agents."""
        return sum(descent.tracker.spent for descent in self.descents)

    def descend(self, tolerance: float) -> None:
        """Take all steps; an agent from which nothing more can come stands still."""
        for step in range(self._steps):
            moving = [descent for descent in self.descents if not descent.is_over(tolerance)]
            if not moving:
                return
            if self.group.is_due(step, self._steps):
                self._pull_together()
            if self.together:
                self._step_together(moving)
            else:
                for descent in moving:
                    descent.step()

    def best(self) -> Descent:
        """The agent whose selected iterate has the best objective; the pull has no part in it."""
        return min(self.descents, key=lambda descent: descent.tracker.best_value())

    def agreement(self) -> Consensus:
        """The consensus of the selected iterates, in the slots of the best agent."""
        selected = torch.stack([descent.tracker.best[0] for descent in self.descents])
        return find_consensus(self.group, selected, self._labels, self.descents.index(self.best()))

    @property
    def _labels(self) -> Tensor | None:
        return self.descents[0].labels

    def _pull_together(self) -> None:
        """Compute the consensus, constant until the next."""
        latest = [descent.tracker.latest_value() for descent in self.descents]
        candidates = torch.stack([descent.images.detach() for descent in self.descents])
        consensus = find_consensus(self.group, candidates, self._labels, latest.index(min(latest)))
        self.registrations += consensus.registrations
        for descent, target in zip(self.descents, consensus.targets, strict=True):
            descent.pull = partial(self.group.penalty, consensus=target)

    def _step_together(self, moving: list[Descent]) -> None:
        values, gradients = evaluate_together(moving)
        for descent, value, gradient in zip(moving, values, gradients, strict=True):
            descent.step(_known(descent, value, gradient))


def evaluate_together(descents: list[Descent]) -> tuple[Tensor, Tensor]:
    """Objectives (G,) and image gradients (G, B, C, H, W) of descents with one objective and fixed labels, by vmap."""
    objective, labels, pulls = descents[0].objective, descents[0].labels, [descent.pull for descent in descents]
    if labels is None:
        raise ValueError("agents that optimise their labels are evaluated in turn")
    images = torch.stack([descent.images.detach() for descent in descents])
    step = torch.func.vmap(torch.func.grad(partial(_value, objective, labels), has_aux=True))
    gradients, values = step(images)
    for index, pull in enumerate(pulls):
        if pull is not None:
            gradients[index] += torch.func.grad(pull)(images[index])
    return values, gradients


def _value(objective: Objective, labels: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    value = objective.functional(images, labels)
    return value, value


def _known(descent: Descent, value: Tensor, gradient: Tensor) -> Callable[[], Tensor]:
    """A closure for an optimizer of one evaluation a step, whose result is known already."""

    def closure() -> Tensor:
        descent.observe(value, [gradient])
        return value

    return closure
