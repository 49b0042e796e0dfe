"""Distances between a candidate's parameter gradients and the observed ones.

`distance.bind(target)` returns a function of the candidate's gradients, so that what depends on the target alone is
computed once. Every distance is finite, with a finite gradient, also where both gradients are zero.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

Bound = Callable[[Sequence[Tensor]], Tensor]


class Distance(Protocol):
    """How far apart two lists of parameter gradients are."""

    def bind(self, target: Sequence[Tensor]) -> Bound:
        """The distance to `target` as a function of gradients of the same shapes."""
        ...


def norm(value: Tensor) -> Tensor:
    """Euclidean norm of all elements, whose gradient at zero is zero and not NaN.

    >>> norm(torch.tensor([3.0, 4.0])).item()
    5.0
    """
    return torch.linalg.vector_norm(value)


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Inner product of two lists of tensors, without temporaries of their size."""
    return torch.stack([torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in zip(left, right, strict=True)]).sum()


class SquaredL2:
    """Sum over the layers of squared l2 norms (DLG, Zhu et al. 2019; iDLG, Zhao et al. 2020).

    >>> SquaredL2().bind([torch.zeros(2)])([torch.tensor([3.0, 4.0])]).item()
    25.0
    """

    def bind(self, target: Sequence[Tensor]) -> Bound:
        """The distance to `target`."""

        def distance(gradients: Sequence[Tensor]) -> Tensor:
            return torch.stack([(g - t).square().sum() for g, t in zip(gradients, target, strict=True)]).sum()

        return distance


class LayerwiseL2:
    """Sum over the layers of *un-squared* l2 norms, times `scale` (GradInversion, Yin et al. 2021, Eq. 3).

    >>> LayerwiseL2(scale=0.5).bind([torch.zeros(2), torch.zeros(1)])([torch.tensor([3.0, 4.0]), torch.ones(1)]).item()
    3.0
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def bind(self, target: Sequence[Tensor]) -> Bound:
        """The distance to `target`."""

        def distance(gradients: Sequence[Tensor]) -> Tensor:
            return self.scale * torch.stack([norm(g - t) for g, t in zip(gradients, target, strict=True)]).sum()

        return distance


class CosineDistance:
    """1 - cosine of the angle between all gradients taken as one vector, times `scale` (Geiping et al. 2020, Eq. 4).

    A zero gradient has no direction: its distance is 1, and its own gradient still points towards the target.

    >>> round(CosineDistance().bind([torch.tensor([2.0, 0.0])])([torch.tensor([5.0, 0.0])]).item(), 6)
    0.0
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def bind(self, target: Sequence[Tensor]) -> Bound:
        """The distance to `target`."""
        length = _safe(torch.stack([norm(t) for t in target]).norm())
        direction = [t / length for t in target]

        def distance(gradients: Sequence[Tensor]) -> Tensor:
            cosine = dot(gradients, direction) / _safe(norm(torch.stack([norm(g) for g in gradients])))
            return self.scale * (1 - cosine)

        return distance


def _safe(length: Tensor) -> Tensor:
    """`length`, or 1 where it is zero."""
    return torch.where(length > 0, length, torch.ones_like(length))
