"""Candidates on their way down, side by side: their variables, their optimizer and what they remember."""

from collections.abc import Callable, Sequence

import torch
from gradinv.attacks.gradient_matching.evaluation import Evaluator
from gradinv.attacks.gradient_matching.group import Group
from gradinv.attacks.gradient_matching.optimizers import Optimizer
from gradinv.attacks.gradient_matching.tracking import Tracker
from torch import Tensor

CHECK_EVERY = 50
"""Evaluations between two looks at the objective from the host: each look waits for the device."""

Box = tuple[Tensor, Tensor]
BeforeStep = Callable[[int], None]


class Descent:
    """Minimises the objective of N candidates from the start in `variables`: images (N, B, C, H, W), or logits as well.

    `box` clamps the images after each step. Iterates from before the group's start are not selected. Where `consensus`
    (N, B, C, H, W) is set, the group's penalty is added to what is minimised but not to what selects.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        variables: list[Tensor],
        optimizer: Optimizer,
        *,
        evaluations: int,
        seeds: Sequence[int],
        group: Group,
        box: Box | None,
    ) -> None:
        self.evaluator, self.variables, self.box, self.group = evaluator, variables, box, group
        self.evaluations = evaluations
        self.tracker = Tracker(variables, evaluations, group.first(evaluations))
        self.consensus: Tensor | None = None
        self._stepper = optimizer.start(variables, evaluations, seeds)

    @property
    def images(self) -> Tensor:
        """The candidates as they stand, (N, B, C, H, W)."""
        return self.variables[0]

    @torch.no_grad()
    def descend(self, tolerance: float, before_step: Sequence[BeforeStep]) -> None:
        """Take all steps; a candidate from which nothing more can come stands still."""
        for step in range(self.evaluations):
            self.tracker.look(CHECK_EVERY, tolerance)
            if all(self.tracker.over):
                return
            for prepare in before_step:
                prepare(step)
            self.step()

    def step(self) -> None:
        """Evaluate all candidates once and move them."""
        values, gradients = self.evaluator(self.variables, self.tracker.over)
        self.tracker.observe(values)
        if self.consensus is not None:
            penalties, slopes = self.group.pull(self.images, self.consensus)
            images, *others = gradients
            values, gradients = values + penalties, [slopes if images is None else images + slopes, *others]
        self._stepper.update(values, gradients, self.tracker.moving)
        if self.box is not None:
            torch.clamp(self.images, *self.box, out=self.images)
