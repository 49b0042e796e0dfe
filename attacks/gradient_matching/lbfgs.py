"""L-BFGS without line search over many candidates at once: every candidate is a row with a memory of its own.

For one candidate `torch.optim.LBFGS` would do: this file is what it costs that DLG and iDLG run several together.

Where a candidate is, how many pairs it remembers and whether it moves are tensors, so that no update waits for the
device. The two loops of the method are solved as two triangular systems over the whole memory: with the steps s_i, the
changes of the gradient y_i, old to new, and R the upper triangle of s_i . y_j, the first loop's weights a solve
R a = S q, and the second loop adds S' b, where R' b = diag(R) a - Y r. An update thus costs four products with the
memory however long it is, where the loops would launch several operations for each remembered pair.

What BLAS computes is computed candidate by candidate, from memory that begins at the same alignment for each. Its
rounding depends on both: on a CPU where one call solved the systems of eight candidates, the bits of a path depended on
how many and at which place they were. Everything else works on all candidates at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_CURVATURE = 1e-10
"""A pair is remembered if its s . y is above this."""

LEAST_GRADIENT = 1e-7
"""A candidate none of whose partial derivatives is larger does not move."""

LEAST_SLOPE = 1e-9
"""A candidate whose objective falls no faster than this along the direction, per unit of the step, does not move."""

ALIGNED = 16
"""Numbers of 4 bytes (or more) in 64 bytes, at whose multiples PyTorch allocates on the CPU."""


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS that steps `lr` times its direction, without line search (Liu & Nocedal 1989, algorithm 2.1).

    The thresholds, `history` and the first step, min(1, 1 / |gradient|_1) times `lr`, are `torch.optim.LBFGS`'s
    defaults, and so is the path, up to rounding; DLG and iDLG use that optimizer. Memory: 2 x `history` times the
    size of all candidates.

    >>> x = torch.tensor([[1.0], [2.0]])
    >>> stepper = LBFGS().start([x], evaluations=5, seeds=[0, 0])
    >>> for _ in range(5):
    ...     stepper.update((x**2).sum(-1), [2 * x], moving=None)
    >>> x.abs().max() < 1e-6
    tensor(True)
    """

    lr: float = 1.0
    history: int = 100

    def start(self, variables: list[Tensor], evaluations: int, seeds: Sequence[int]) -> "LBFGSStepper":
        """A stepper that remembers nothing yet; `seeds` are not used, for nothing is drawn."""
        return LBFGSStepper(variables, self.lr, min(self.history, evaluations))


class LBFGSStepper:
    """The walk of N candidates: the variables, each (N, ...), seen as rows of (N, D)."""

    def __init__(self, variables: list[Tensor], lr: float, slots: int) -> None:
        self.variables, self.lr = variables, lr
        self._sizes = [variable[0].numel() for variable in variables]
        # The first pair offered is a step of zero, which shows no curvature and is not remembered.
        self._gradient = self._step = torch.zeros_like(_rows(variables))
        self._memory = Memory(self._gradient, slots)
        self._has_moved = torch.zeros(len(self._gradient), dtype=torch.bool, device=self._gradient.device)

    def update(self, values: Tensor, gradients: Sequence[Tensor | None], moving: Tensor | None) -> None:
        """Move each candidate along its direction, one evaluation a step; `values` are not used.

        A candidate without a slope to go down, or with all of its gradient near zero, stays.
        """
        gradient = _rows([_or_zeros(g, v) for g, v in zip(gradients, self.variables, strict=True)])
        self._memory.remember(self._step, gradient - self._gradient)
        direction = self._memory.direction(gradient)
        # Masks instead of branches: to ask on the host who moves would wait for the device at every step.
        moves = _has_slope(gradient, direction)
        if moving is not None:
            moves = moves & moving
        step = direction * self._rates(gradient)[:, None]
        # Adding -0.0 changes no bit, not even that of a zero's sign.
        self._step = torch.where(moves[:, None], step, -0.0)
        self._gradient, self._has_moved = gradient, self._has_moved | moves
        parts = self._step.split(self._sizes, dim=1)
        for variable, part, slope in zip(self.variables, parts, gradients, strict=True):
            if slope is not None:
                variable.add_(part.reshape(variable.shape))

    def _rates(self, gradient: Tensor) -> Tensor:
        # One over a gradient of zero is infinity, of which the clamp makes 1: such a candidate does not move anyway.
        first = gradient.abs().sum(dim=1).reciprocal().clamp(max=1.0)
        return self.lr * torch.where(self._has_moved, 1.0, first)


class Memory:
    """The last pairs of steps and changes of the gradient of N candidates, in a ring of `slots` for each.

    A candidate whose pair shows no curvature keeps what it remembers, so the rings turn apart. A slot without a pair
    holds zeros, which add nothing to a direction. `like`, (N, D), gives size, dtype and device.
    """

    def __init__(self, like: Tensor, slots: int) -> None:
        count, size = like.shape
        self.slots, self._offered = slots, 0
        # Slots that are never used, so that the memory of every candidate begins where BLAS rounds alike.
        aligned_slots = -(-slots // ALIGNED) * ALIGNED
        self._steps = like.new_zeros(count, aligned_slots, size)[:, :slots]
        self._changes = like.new_zeros(count, aligned_slots, size)[:, :slots]
        self._products = like.new_zeros(count, slots, slots)
        self._held = torch.zeros(count, dtype=torch.long, device=like.device)
        self._scale = like.new_ones(count)
        self._rows = torch.arange(count, device=like.device)

    def remember(self, step: Tensor, change: Tensor) -> None:
        """Take a pair of each candidate, each (N, D), in place of its oldest one once the ring is full."""
        curvature = (step * change).sum(dim=1)
        taken = curvature > LEAST_CURVATURE
        row, slot, mask = self._rows, self._held % self.slots, taken[:, None]
        self._offered += 1
        self._steps[row, slot] = torch.where(mask, step, self._steps[row, slot])
        self._changes[row, slot] = torch.where(mask, change, self._changes[row, slot])
        # Only the upper triangle is ever read: what older changes have in common with this step need not be known.
        products = _times(self._steps, change)
        self._products[row, :, slot] = torch.where(mask, products, self._products[row, :, slot])
        # The first inverse Hessian, from the newest pair; 0 / 0 where no pair is taken is computed and thrown away.
        self._scale = torch.where(taken, curvature / (change * change).sum(dim=1), self._scale)
        self._held = self._held + taken

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient, both (N, D), once pairs were offered."""
        # By what was offered, which the host counts itself: what is held is on the device, and asking waits for it.
        used = min(self._offered, self.slots)
        steps, changes, order = self._steps[:, :used], self._changes[:, :used], self._order(used)
        triangle, curvature = self._triangle(order)
        weights = _solve(triangle, _times(steps, -gradient).gather(1, order), upper=True)
        scaled = self._scale[:, None] * (-gradient - _combine(changes, weights, order))
        rest = curvature * weights - _times(changes, scaled).gather(1, order)
        return scaled + _combine(steps, _solve(triangle.mT, rest, upper=False), order)

    def _order(self, used: int) -> Tensor:
        """Each candidate's slots from the oldest pair to the newest, (N, used); empty slots come last."""
        oldest = torch.where(self._held > self.slots, self._held % self.slots, 0)
        return (oldest[:, None] + torch.arange(used, device=oldest.device)) % used

    def _triangle(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """R in the order of age, (N, used, used), and its diagonal, (N, used), 1 in empty slots to keep it solvable."""
        triangle = self._products[self._rows[:, None, None], order[:, :, None], order[:, None, :]].triu()
        diagonal = triangle.diagonal(dim1=1, dim2=2)
        empty = torch.arange(order.shape[1], device=order.device) >= self._held[:, None]
        # A view: the ones stand in the triangle. What is remembered keeps its zeros, since indexing made a copy of it.
        diagonal.copy_(torch.where(empty, 1.0, diagonal))
        return triangle, diagonal


def _rows(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of (N, ...) side by side, (N, D)."""
    return torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], dim=1)


def _or_zeros(gradient: Tensor | None, variable: Tensor) -> Tensor:
    return torch.zeros_like(variable) if gradient is None else gradient


def _has_slope(gradient: Tensor, direction: Tensor) -> Tensor:
    """(N,) bool; where the gradient is not finite True, as in `torch.optim.LBFGS`."""
    flat = gradient.abs().amax(dim=1) <= LEAST_GRADIENT
    level = (gradient * direction).sum(dim=1) > -LEAST_SLOPE
    # Negated last: comparisons with NaN are False, so that a gradient that is not finite has a slope.
    return ~(flat | level)


def _times(memory: Tensor, vectors: Tensor) -> Tensor:
    """The products (N, M) of the rows (N, M, D) with the vectors (N, D)."""
    return torch.stack([rows @ vector for rows, vector in zip(memory, _apart(vectors), strict=True)])


def _combine(memory: Tensor, weights: Tensor, order: Tensor) -> Tensor:
    """The sum (N, D) of the rows (N, M, D), each times its weight; the weights (N, M) come in the order of age."""
    by_slot = torch.zeros_like(weights).scatter(1, order, weights)
    return torch.stack([share @ rows for rows, share in zip(memory, _apart(by_slot), strict=True)])


def _solve(triangles: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    """The solutions (N, M) of triangular systems (N, M, M) with right sides (N, M)."""
    systems = zip(_apart(triangles), _apart(right[:, :, None]), strict=True)
    solutions = [torch.linalg.solve_triangular(triangle, side, upper=upper) for triangle, side in systems]
    return torch.stack(solutions).squeeze(2)


def _apart(tensors: Tensor) -> list[Tensor]:
    """Each candidate's part of a tensor (N, ...) in memory of its own."""
    return [part.clone() for part in tensors]
