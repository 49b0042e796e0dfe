"""Image priors: what an attacker believes of photographs, and of the statistics that they leave in a network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.distances import norm
from attacks.leak import Leak, Statistics


@dataclass(frozen=True)
class Candidate:
    """What a prior sees: the images (B, C, H, W), normalised, and the batch-norm statistics of their forward pass."""

    images: Tensor
    bn_statistics: Sequence[tuple[Tensor, Tensor]] = ()


class Prior:
    """A penalty on a candidate. A prior that needs a grant takes it in `bind`."""

    needs_bn_statistics = False

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def bind(self, leak: Leak) -> "Prior":
        """The prior for one leak."""
        return self

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted."""
        raise TypeError(f"{type(self).__name__} has no __call__ method")


class TotalVariation(Prior):
    """Mean absolute difference of horizontal plus that of vertical neighbours (Geiping et al. 2020; their code).

    >>> TotalVariation(1.0)(Candidate(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))).item()
    1.0
    """

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted; 0 for a constant image."""
        x = candidate.images
        return (x[..., :, 1:] - x[..., :, :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()


class TotalVariationL2(Prior):
    """Sum of the l2 norms of the differences in four directions, each over the whole batch.

    The R_TV of GradInversion (Yin et al. 2021, Eq. 9), whose norm the paper leaves open, as its authors normalise it in
    DeepInversion (Yin et al. 2020).

    >>> TotalVariationL2(1.0)(Candidate(torch.ones(1, 1, 4, 4))).item()
    0.0
    """

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted; 0 for a constant image."""
        x = candidate.images
        return (
            norm(x[..., :, 1:] - x[..., :, :-1])
            + norm(x[..., 1:, :] - x[..., :-1, :])
            + norm(x[..., 1:, 1:] - x[..., :-1, :-1])
            + norm(x[..., 1:, :-1] - x[..., :-1, 1:])
        )


class ImageL2(Prior):
    """Mean over the images of their l2 norm (R_l2 of Yin et al. 2021, Eq. 9; normalised as in DeepInversion).

    >>> ImageL2(1.0)(Candidate(torch.ones(2, 1, 2, 2))).item()
    2.0
    """

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted."""
        return torch.linalg.vector_norm(candidate.images.flatten(1), dim=1).mean()


class BatchNormStatistics(Prior):
    """Sum over the batch-norm layers of un-squared l2 distances of mean and variance (Yin et al. 2021, Eq. 10).

    The candidate's variance is the biased one. The target is what the leak grants: running or exact statistics.
    """

    needs_bn_statistics = True

    def __init__(self, weight: float, target: Statistics = ()) -> None:
        super().__init__(weight)
        self.target = target

    def bind(self, leak: Leak) -> "BatchNormStatistics":
        """The prior with the granted statistics as its target; ValueError where none are granted."""
        if leak.bn_statistics is None:
            raise ValueError("a batch-norm prior needs bn_statistics: running or exact")
        return BatchNormStatistics(self.weight, leak.bn_statistics)

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted; 0 where the candidate has the target's statistics."""
        pairs = zip(candidate.bn_statistics, self.target, strict=True)
        return torch.stack([norm(m - mean) + norm(v - var) for (m, v), (mean, var) in pairs]).sum()
