"""One start on its way down: its variables, its optimizer and what it remembers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attacks.objective import Objective
from attacks.optimizers import Optimizer
from attacks.tracking import Tracker

CHECK_EVERY = 50
"""Evaluations between two looks at the objective from the host: each look waits for the device."""

Pull = Callable[[Tensor], Tensor]
Box = tuple[Tensor, Tensor]


class Descent:
    """Minimises `objective` from the start in `variables`: the images and, where labels are optimised, their logits.

    `labels` None means the logits. `box` clamps the images after each step. `pull` is added to what is minimised but
    not to what selects: it draws an agent to the others. Iterates before `select_from` evaluations are not selected.
    """

    def __init__(
        self,
        objective: Objective,
        variables: list[Tensor],
        labels: Tensor | None,
        optimizer: Optimizer,
        *,
        evaluations: int,
        seed: int,
        box: Box | None,
        select_from: int = 0,
    ) -> None:
        self.objective, self.variables, self.labels, self.box = objective, variables, labels, box
        self.evaluations = evaluations
        self.tracker = Tracker(variables, evaluations, select_from)
        self.pull: Pull | None = None
        self._stepper = optimizer.start(variables, evaluations, seed)
        self._over = False

    @property
    def images(self) -> Tensor:
        """The candidate as it stands, (B, C, H, W)."""
        return self.variables[0]

    def is_over(self, tolerance: float) -> bool:
        """Whether the budget is spent, or nothing more can come of it."""
        spent = self.tracker.spent >= self.evaluations
        self._over = self._over or spent or self.tracker.is_over(CHECK_EVERY, tolerance)
        return self._over

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One step of the optimizer; `closure` stands in for `evaluate` where the gradients are known already."""
        self._stepper.step(closure or self.evaluate, self.evaluations - self.tracker.spent)
        if self.box is not None:
            torch.clamp(self.images.data, *self.box, out=self.images.data)

    def evaluate(self) -> Tensor:
        """Evaluate the objective once and fill the gradients; returns what is minimised."""
        labels = self.variables[1].softmax(dim=-1) if self.labels is None else self.labels
        value = self.objective(self.images, labels)
        total = value if self.pull is None else value + self.pull(self.images)
        self.observe(value, torch.autograd.grad(total, self.variables, allow_unused=True))
        return total

    def observe(self, value: Tensor, gradients: Sequence[Tensor | None]) -> None:
        """Take the objective and the gradients of the variables as they stand."""
        for variable, gradient in zip(self.variables, gradients, strict=True):
            variable.grad = gradient
        self.tracker.observe(value.detach())
