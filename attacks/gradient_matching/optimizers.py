"""How candidates move: Adam with its schedules, signs and noise, coarse levels first, and L-BFGS (`lbfgs`).

An optimizer is frozen: hyperparameters only. `start` makes the stepper of N independent candidates, whose variables are
tensors (N, ...) that an update changes in place. Each update costs one evaluation of the objective.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.lbfgs import LBFGS
from gradinv.metrics.registry import InvalidEntryError

__all__ = [
    "LBFGS",
    "NOISE_STREAM",
    "Adam",
    "CoarseFirst",
    "Optimizer",
    "Schedule",
    "Stepper",
    "coarse_levels_first",
    "step_decay",
    "warmup_cosine",
]

NOISE_STREAM = 0x5EED
"""Keeps the noise apart from the start, which is drawn from the seed itself."""

Schedule = Callable[[int, int], float]


class Stepper(Protocol):
    """The optimizer of N candidates on their way: what one does never depends on the others."""

    def update(self, values: Tensor, gradients: Sequence[Tensor | None], moving: Tensor | None) -> None:
        """Move the candidates in place, given objective (N,) and gradients of the variables where they stand now.

        A variable whose gradient is None stays. `moving`, (N,) bool: those that are False stay exactly where they are,
        though their gradients are still taken note of; None: all move.
        """
        ...


class Optimizer(Protocol):
    """Makes steppers."""

    def start(self, variables: list[Tensor], evaluations: int, seeds: Sequence[int]) -> Stepper:
        """A stepper for `variables`, each (N, ...), that will see `evaluations` updates; one seed a candidate."""
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

    `noise` adds to the first variable (the images, or what stands for them) that many times the current learning rate
    times N(0, 1) after each step (Yin et al. 2021, the update rule of section 3.4), drawn from each candidate's seed.
    """

    lr: float
    schedule: Schedule
    sign: bool = False
    noise: float = 0.0

    def start(self, variables: list[Tensor], evaluations: int, seeds: Sequence[int]) -> Stepper:
        """A stepper with its own moments and its own noise."""
        return _AdamStepper(self, variables, evaluations, seeds)


@dataclass(frozen=True)
class CoarseFirst:
    """`inner`, under which the finer of a pyramid's levels stand still at first, so that coarse shapes are found first.

    Level k of `levels`, 0 the finest, is released after `share` times (levels - 1 - k) / (levels - 1) of the steps, as
    in graduated non-convexity and coarse-to-fine registration. The variables begin with the levels, finest first.
    """

    inner: Optimizer
    levels: int
    share: float

    def start(self, variables: list[Tensor], evaluations: int, seeds: Sequence[int]) -> Stepper:
        """A stepper of `inner` that is told nothing of the gradients of levels that stand still."""
        releases = [
            self.share * (self.levels - 1 - level) / (self.levels - 1) * evaluations for level in range(self.levels - 1)
        ]
        return _CoarseFirstStepper(self.inner.start(variables, evaluations, seeds), releases)


def coarse_levels_first(inner: Optimizer, levels: int, share: float) -> Optimizer:
    """`inner`, with `CoarseFirst` around it where a share is given; InvalidEntryError where there is no pyramid for it.

    >>> coarse_levels_first(LBFGS(), levels=1, share=0.0) == LBFGS()
    True
    """
    if share and levels == 1:
        raise InvalidEntryError(
            f"coarse_first={share} says when the levels of a pyramid move; take levels of 2 or more"
        )
    return CoarseFirst(inner, levels, share) if share else inner


class _CoarseFirstStepper:
    def __init__(self, inner: Stepper, releases: Sequence[float]) -> None:
        self.inner, self.releases, self.taken = inner, releases, 0

    def update(self, values: Tensor, gradients: Sequence[Tensor | None], moving: Tensor | None) -> None:
        """One step of the inner stepper."""
        held = [None if self.taken < at else gradient for at, gradient in zip(self.releases, gradients, strict=False)]
        self.taken += 1
        self.inner.update(values, [*held, *gradients[len(held) :]], moving)


class _AdamStepper:
    def __init__(self, settings: Adam, variables: list[Tensor], evaluations: int, seeds: Sequence[int]) -> None:
        self.settings, self.variables, self.evaluations, self.taken = settings, variables, evaluations, 0
        # One for all candidates: Adam works element by element, so that none sees anything of another.
        self.optimizer = torch.optim.Adam(variables, lr=settings.lr)
        device = variables[0].device
        # On the device, although starts are drawn on the CPU: noise would have to be copied there at every step.
        self.generators = [torch.Generator(device).manual_seed(seed ^ NOISE_STREAM) for seed in seeds]

    def update(self, values: Tensor, gradients: Sequence[Tensor | None], moving: Tensor | None) -> None:
        """One step of Adam and its noise; `values` are not used."""
        # PyTorch's Adam cannot leave rows out: those that stand still are moved like the rest and then put back.
        before = None if moving is None else [variable.clone() for variable in self.variables]
        rate = self.settings.lr * self.settings.schedule(self.taken, self.evaluations)
        self._step(gradients, rate)
        self._add_noise(rate)
        self.taken += 1
        if moving is not None and before is not None:
            for variable, old in zip(self.variables, before, strict=True):
                variable.copy_(torch.where(moving.view(-1, *[1] * (variable.dim() - 1)), variable, old))

    def _step(self, gradients: Sequence[Tensor | None], rate: float) -> None:
        for variable, gradient in zip(self.variables, gradients, strict=True):
            variable.grad = gradient.sign() if self.settings.sign and gradient is not None else gradient
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        # The variables are the caller's, who passes gradients by hand.
        self.optimizer.zero_grad(set_to_none=True)

    def _add_noise(self, rate: float) -> None:
        if self.settings.noise:
            # One draw a candidate, so that its noise does not depend on how many there are.
            for candidate, generator in zip(self.variables[0], self.generators, strict=True):
                shape, device, dtype = candidate.shape, candidate.device, candidate.dtype
                draw = torch.randn(shape, generator=generator, device=device, dtype=dtype)
                candidate.add_(draw, alpha=self.settings.noise * rate)
