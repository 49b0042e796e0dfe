"""Distances between a candidate's parameter gradients and the observed ones.

Every distance is finite, with a finite gradient, also where both gradients are zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pullback:
    """A distance's `value` (a scalar) and its gradient for the candidate's gradients: `factor` times `cotangents`.

    The factor is kept apart because to multiply it in would be one more pass over memory of the network's size.
    """

    value: Tensor
    cotangents: list[Tensor]
    factor: Tensor


class Distance:
    """How far apart two lists of parameter gradients are. A subclass fills in `value`.

    `prepare` computes once what depends on the observed gradients alone. A closed form in `pullback` spares the
    backward pass through `value`, whose temporaries of the network's size cost more than a small batch.
    """

    def prepare(self, target: Sequence[Tensor]) -> list[Tensor]:
        """What `value` and `pullback` take for the observed gradients; the gradients themselves, unless overridden."""
        return list(target)

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        raise TypeError(f"{type(self).__name__} has no value method")

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient."""
        cotangents, value = torch.func.grad_and_value(self.value)(list(gradients), prepared)
        return Pullback(value, cotangents, torch.ones_like(value))

    def bind(self, target: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
        """The distance to `target` as a function of gradients of the same shapes."""
        prepared = self.prepare(target)
        return lambda gradients: self.value(gradients, prepared)


def norm(value: Tensor) -> Tensor:
    """Euclidean norm of all elements, whose gradient at zero is zero and not NaN.

    >>> norm(torch.tensor([3.0, 4.0])).item()
    5.0
    """
    return torch.linalg.vector_norm(value)


class _Dot(torch.autograd.Function):
    """`torch.dot` that keeps its digits for several candidates at once: vmap's own rule would add up naively."""

    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        return torch.dot(left, right)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        return slopes[0] * right, slopes[0] * left

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], left: Tensor, right: Tensor) -> tuple[Tensor, int]:
        rows = [part if dim is None else part.movedim(dim, 0) for part, dim in zip((left, right), in_dims, strict=True)]
        return (rows[0] * rows[1]).sum(dim=-1), 0


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner product of two tensors of the same shape, without a temporary of their size for a single candidate.

    >>> dot(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])).item()
    11.0
    """
    product: Tensor = _Dot.apply(left.reshape(-1), right.reshape(-1))
    return product


class SquaredL2(Distance):
    """Sum over the layers of squared l2 norms (DLG, Zhu et al. 2019; iDLG, Zhao et al. 2020).

    >>> SquaredL2().bind([torch.zeros(2)])([torch.tensor([3.0, 4.0])]).item()
    25.0
    """

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        return torch.stack([(g - t).square().sum() for g, t in zip(gradients, prepared, strict=True)]).sum()

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, twice the differences."""
        differences = [g - t for g, t in zip(gradients, prepared, strict=True)]
        value = torch.stack([norm(d) for d in differences]).square().sum()
        return Pullback(value, differences, torch.full_like(value, 2.0))


class LayerwiseL2(Distance):
    """Sum over the layers of *un-squared* l2 norms, times `scale` (GradInversion, Yin et al. 2021, Eq. 3).

    >>> LayerwiseL2(scale=0.5).bind([torch.zeros(2), torch.zeros(1)])([torch.tensor([3.0, 4.0]), torch.ones(1)]).item()
    3.0
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        return self.scale * torch.stack([norm(g - t) for g, t in zip(gradients, prepared, strict=True)]).sum()

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, the differences at length `scale`; zero for a layer without difference."""
        differences = [g - t for g, t in zip(gradients, prepared, strict=True)]
        lengths = [norm(d) for d in differences]
        directions = [d.mul_(self.scale / _safe(length)) for d, length in zip(differences, lengths, strict=True)]
        value = self.scale * torch.stack(lengths).sum()
        return Pullback(value, directions, torch.ones_like(value))


class CosineDistance(Distance):
    """1 - cosine of the angle between all gradients taken as one vector, times `scale` (Geiping et al. 2020, Eq. 4).

    A zero gradient has no direction: its distance is `scale`, and its own gradient still points towards the target.

    >>> round(CosineDistance().bind([torch.tensor([2.0, 0.0])])([torch.tensor([5.0, 0.0])]).item(), 6)
    0.0
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def prepare(self, target: Sequence[Tensor]) -> list[Tensor]:
        """The direction of the observed gradients: length 1, or 0 where they are zero."""
        length = _safe(norm(torch.stack([norm(t) for t in target])))
        return [t / length for t in target]

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        along, length = _along_and_length(gradients, prepared)
        return self.scale * (1 - along / length)

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, -(target - cosine * direction of the gradients) / their length."""
        along, length = _along_and_length(gradients, prepared)
        cosine = along / length
        share = -cosine / length
        cotangents = [torch.addcmul(t, g, share) for g, t in zip(gradients, prepared, strict=True)]
        return Pullback(self.scale * (1 - cosine), cotangents, -self.scale / length)


def _along_and_length(gradients: Sequence[Tensor], direction: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Inner product of the gradients with `direction`, and their length, or 1 where they are zero.

    Layer by layer, so that the second look at a layer finds it in the cache; without temporaries of its size.
    """
    pairs = [(dot(g, t), norm(g)) for g, t in zip(gradients, direction, strict=True)]
    along, lengths = (torch.stack(values) for values in zip(*pairs, strict=True))
    return along.sum(), _safe(norm(lengths))


def _safe(length: Tensor) -> Tensor:
    """`length`, or 1 where it is zero."""
    return torch.where(length > 0, length, torch.ones_like(length))
