"""Distances that other attacks were published with, for whoever wants to compare: TAG's, SAPAG's, and the top-k."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gradinv.attacks.gradient_matching.distances import Distance, paired
from gradinv.attacks.gradient_matching.parts import register_distance


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
