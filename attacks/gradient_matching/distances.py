"""Distances between a candidate's parameter gradients and the observed ones; last those of TAG, SAPAG and the top-k.

Every distance is finite, with a finite gradient, also where both gradients are zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
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


@register_distance("tag")
class TagDistance(Distance):
    """Sum over the parameters of squared l2 norms plus a(l) l1 norms (TAG, Deng et al. 2021), times `scale`.

    a falls with the place l = 0, 1, ... of L from `share` at the input to share / L at the output.

    >>> candidate, observed = [torch.tensor([3.0, -4.0]), torch.ones(1)], [torch.zeros(2), torch.zeros(1)]
    >>> TagDistance(share=0.5).value(candidate, observed).item()
    29.75
    """

    def __init__(self, *, share: Annotated[float, Field(ge=0)] = 0.1, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.share = share

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        terms = [
            (g - t).square().sum() + self.share * (1 - place / len(gradients)) * (g - t).abs().sum()
            for place, (g, t) in enumerate(paired(gradients, prepared))
        ]
        return self.scale * torch.stack(terms).sum()


@register_distance("sapag")
class SapagDistance(Distance):
    """Sum over the parameters of 1 - exp(-||difference||^2 / width) (SAPAG, Wang et al. 2020), times `scale`.

    The width of a parameter is the squared norm of its observed gradient, 1 where that is zero: the paper's widths are
    not known to us. Far from the observed gradients it is flat.

    >>> SapagDistance().value([torch.ones(2)], [torch.ones(2)]).item()
    0.0
    """

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        terms = []
        for gradient, target in paired(gradients, prepared):
            square = target.square().sum()
            width = torch.where(square > 0, square, torch.ones_like(square))
            # Not 1 - exp(-x), which loses its digits near the observed gradients, where x is small.
            terms.append(-torch.expm1(-(gradient - target).square().sum() / width))
        return self.scale * torch.stack(terms).sum()


@register_distance("top")
class TopEntries(Distance):
    """Squared l2 over the `share` of all entries whose observed gradient is largest, times `scale`.

    Partial matching, as of a pruned update whose support is all that was sent. Of equal entries all count.

    >>> distance, observed = TopEntries(share=0.5), [torch.tensor([4.0, 0.0]), torch.tensor([3.0, 1.0])]
    >>> distance.value([torch.zeros(2), torch.zeros(2)], distance.prepare(observed)).item()
    25.0
    """

    def __init__(self, *, share: Annotated[float, Field(gt=0, le=1)] = 0.1, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.share = share

    def prepare(self, target: Sequence[Tensor]) -> list[Tensor]:
        """The observed gradients, not a number where they are not compared."""
        sizes = torch.cat([t.abs().flatten() for t in target])
        least = sizes.topk(max(1, round(self.share * len(sizes)))).values[-1]
        return [torch.where(t.abs() >= least, t, torch.nan) for t in target]

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        # The gradient itself in the place of what is not compared: its difference, and the derivative, are zero.
        differences = [g - torch.where(t.isnan(), g, t) for g, t in paired(gradients, prepared)]
        return self.scale * torch.stack([difference.square().sum() for difference in differences]).sum()
