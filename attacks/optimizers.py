"""How candidates move: Adam with its schedules, signs and noise, and L-BFGS.

An optimizer is a frozen recipe; `start` makes the stepper of one restart. A step calls the closure, which evaluates the
objective and fills `.grad`, once (Adam) or several times (L-BFGS), never more often than evaluations remain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NOISE_STREAM = 0x5EED
"""Keeps the noise apart from the start, which is drawn from the seed itself."""

Closure = Callable[[], Tensor]
Schedule = Callable[[int, int], float]


class Stepper(Protocol):
    """One restart's optimizer."""

    def step(self, closure: Closure, remaining: int) -> None:
        """Move the variables, spending at least one and at most `remaining` evaluations."""
        ...


class Optimizer(Protocol):
    """A recipe for steppers."""

    def start(self, variables: list[Tensor], evaluations: int, seed: int) -> Stepper:
        """A stepper for `variables` that will see `evaluations` evaluations."""
        ...


def step_decay(*at: float, factor: float = 0.1) -> Schedule:
    """Times `factor` after each share `at` of the steps (Geiping et al. 2020: 3/8, 5/8, 7/8).

    >>> [round(step_decay(0.5)(t, 4), 2) for t in range(4)]
    [1.0, 1.0, 0.1, 0.1]
    """
    return lambda step, steps: factor ** sum(step >= share * steps for share in at)


def warmup_cosine(warmup: int) -> Schedule:
    """Linear over `warmup` steps (at most a quarter of all), then a cosine to zero (Yin et al. 2021, section 4.1).

    >>> [round(warmup_cosine(1)(t, 5), 2) for t in range(5)]
    [1.0, 1.0, 0.85, 0.5, 0.15]
    """

    def rate(step: int, steps: int) -> float:
        length = min(warmup, steps // 4)
        if step < length:
            return (step + 1) / length
        return 0.5 * (1 + math.cos(math.pi * (step - length) / max(steps - length, 1)))

    return rate


@dataclass(frozen=True)
class Adam:
    """Adam at `lr` times the schedule; `sign` steps on the sign of the gradient.

    `noise` adds to the first variable, the images, that many times the current learning rate times N(0, 1) after each
    step (Yin et al. 2021, the update rule of section 3.4).
    """

    lr: float
    schedule: Schedule
    sign: bool = False
    noise: float = 0.0

    def start(self, variables: list[Tensor], evaluations: int, seed: int) -> Stepper:
        """A stepper with its own moments and its own noise."""
        return _AdamStepper(self, variables, evaluations, seed)


class _AdamStepper:
    def __init__(self, recipe: Adam, variables: list[Tensor], evaluations: int, seed: int) -> None:
        self.recipe, self.variables, self.evaluations, self.taken = recipe, variables, evaluations, 0
        self.optimizer = torch.optim.Adam(variables, lr=recipe.lr)
        self.generator = torch.Generator(variables[0].device).manual_seed(seed ^ NOISE_STREAM)

    def step(self, closure: Closure, remaining: int) -> None:
        """One evaluation, one step."""
        rate = self.recipe.lr * self.recipe.schedule(self.taken, self.evaluations)
        self.optimizer.param_groups[0]["lr"] = rate
        closure()
        if self.recipe.sign:
            for variable in self.variables:
                if variable.grad is not None:
                    variable.grad.sign_()
        self.optimizer.step()
        self._add_noise(rate)
        self.taken += 1

    def _add_noise(self, rate: float) -> None:
        if self.recipe.noise:
            images = self.variables[0]
            draw = torch.randn(images.shape, generator=self.generator, device=images.device, dtype=images.dtype)
            images.data.add_(draw, alpha=self.recipe.noise * rate)


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS without line search, `inner` evaluations a step (DLG and iDLG, as in their code)."""

    lr: float = 1.0
    inner: int = 20

    def start(self, variables: list[Tensor], evaluations: int, seed: int) -> Stepper:
        """A stepper with its own history."""
        return _LBFGSStepper(self, variables)


class _LBFGSStepper:
    def __init__(self, recipe: LBFGS, variables: list[Tensor]) -> None:
        self.inner = recipe.inner
        self.optimizer = torch.optim.LBFGS(variables, lr=recipe.lr, max_iter=recipe.inner)

    def step(self, closure: Closure, remaining: int) -> None:
        """Up to `inner` evaluations: PyTorch's L-BFGS evaluates `max_iter` times a step when it has no line search."""
        self.optimizer.param_groups[0]["max_iter"] = min(self.inner, remaining)
        self.optimizer.step(closure)
