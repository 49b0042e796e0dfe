"""Distances between a candidate's parameter gradients and the observed ones.

Every distance is finite, with a finite gradient, also where both gradients are zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.parts import register_distance


@dataclass(frozen=True)
class Pullback:
    """A distance's `value` (a scalar) and its gradient for the candidate's gradients: `factor` times `cotangents`.

    The factor is kept apart because to multiply it in would be one more pass over memory of the network's size.
    """

    value: Tensor
    cotangents: list[Tensor]
    factor: Tensor

    def times(self, number: Tensor | float) -> "Pullback":
        """Those of so many times the distance."""
        return Pullback(self.value * number, self.cotangents, self.factor * number)


class Distance:
    """How far apart two lists of parameter gradients are. A subclass fills in `value`.

    `prepare` computes once what depends on the observed gradients alone. `pullback` is for one candidate at a time: a
    closed form there spares the backward pass through `value`, whose temporaries of the network's size cost more than
    a small batch. Programs are traced from `value`. `needs_scale`: it means something only for gradients whose length
    is known, not for directions. `scale` is its weight in the objective, which `value` has in it.
    """

    needs_scale = True
    scale = 1.0

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

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


def paired(gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each gradient with its observed one; ValueError where a shape differs, which would be broadcast in silence."""
    if [g.shape for g in gradients] != [t.shape for t in prepared]:
        shapes = [(tuple(g.shape), tuple(t.shape)) for g, t in zip(gradients, prepared, strict=True)]
        index, (shape, observed) = next((i, pair) for i, pair in enumerate(shapes) if pair[0] != pair[1])
        raise ValueError(f"gradient {index} has the shape {shape} and the observed one {observed}")
    return zip(gradients, prepared, strict=True)


def norm(value: Tensor) -> Tensor:
    """Euclidean norm of all elements, whose gradient at zero is zero and not NaN.

    >>> norm(torch.tensor([3.0, 4.0])).item()
    5.0
    """
    # Not the root of a sum of squares: at zero its gradient is infinity times zero.
    return torch.linalg.vector_norm(value)


@register_distance("squared_l2")
class SquaredL2(Distance):
    """Sum over the layers of squared l2 norms (DLG, Zhu et al. 2019; iDLG, Zhao et al. 2020), times `scale`.

    >>> SquaredL2().value([torch.tensor([3.0, 4.0])], [torch.zeros(2)]).item()
    25.0
    """

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        return self.scale * torch.stack([(g - t).square().sum() for g, t in paired(gradients, prepared)]).sum()

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, twice the differences."""
        differences = [g - t for g, t in zip(gradients, prepared, strict=True)]
        # By norms, because `d.square()` would be one more temporary of the network's size.
        value = self.scale * torch.stack([norm(d) for d in differences]).square().sum()
        return Pullback(value, differences, torch.full_like(value, 2.0 * self.scale))


@register_distance("l2")
class LayerwiseL2(Distance):
    """Sum over the layers of *un-squared* l2 norms, times `scale` (GradInversion, Yin et al. 2021, Eq. 3).

    >>> LayerwiseL2(scale=0.5).value([torch.tensor([3.0, 4.0]), torch.ones(1)], [torch.zeros(2), torch.zeros(1)]).item()
    3.0
    """

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        return self.scale * torch.stack([norm(g - t) for g, t in paired(gradients, prepared)]).sum()

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, the differences at length `scale`; zero for a layer without difference."""
        differences = [g - t for g, t in zip(gradients, prepared, strict=True)]
        lengths = [norm(d) for d in differences]
        # In place: the differences are made here, and a copy would be one more pass over memory.
        directions = [d.mul_(self.scale / _safe(length)) for d, length in zip(differences, lengths, strict=True)]
        value = self.scale * torch.stack(lengths).sum()
        return Pullback(value, directions, torch.ones_like(value))


@register_distance("cosine")
class CosineDistance(Distance):
    """1 - cosine of the angle between all gradients taken as one vector, times `scale` (Geiping et al. 2020, Eq. 4).

    A zero gradient has no direction: its distance is `scale`, and its own gradient still points towards the target.

    >>> distance = CosineDistance()
    >>> prepared = distance.prepare([torch.tensor([2.0, 0.0])])
    >>> round(distance.value([torch.tensor([5.0, 0.0])], prepared).item(), 6)
    0.0
    """

    needs_scale = False

    def prepare(self, target: Sequence[Tensor]) -> list[Tensor]:
        """The direction of the observed gradients: length 1, or 0 where they are zero."""
        # The norm of the tensors' norms is that of all of them as one vector, without a copy of the network's size.
        length = _safe(norm(torch.stack([norm(t) for t in target])))
        return [t / length for t in target]

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        along = torch.stack([(g * t).sum() for g, t in paired(gradients, prepared)]).sum()
        return self.scale * (1 - along / _safe(norm(torch.stack([norm(g) for g in gradients]))))

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, -(target - cosine * direction of the gradients) / their length."""
        # Layer by layer, so that the second look at a layer finds it in the cache; `dot` makes no temporary.
        pairs = [(torch.dot(g.reshape(-1), t.reshape(-1)), norm(g)) for g, t in zip(gradients, prepared, strict=True)]
        along, lengths = (torch.stack(values) for values in zip(*pairs, strict=True))
        length = _safe(norm(lengths))
        cosine = along.sum() / length
        share = -cosine / length
        # One fused pass a layer; sign, scale and length are left to the factor, which is a single number.
        cotangents = [torch.addcmul(t, g, share) for g, t in zip(gradients, prepared, strict=True)]
        return Pullback(self.scale * (1 - cosine), cotangents, -self.scale / length)


def _safe(length: Tensor) -> Tensor:
    """`length`, or 1 where it is zero."""
    # Not an epsilon added: every length above zero keeps its bits, however small it is.
    return torch.where(length > 0, length, torch.ones_like(length))
