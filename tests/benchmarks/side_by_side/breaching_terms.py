"""Terms of our objectives in breaching's form, where the two systems define a term differently.

Each keeps the way in which breaching computes: TorchScript over the layers, a convolution for the differences. A term
without any counterpart there is our own, so that it costs the same in both.
"""

from typing import List  # noqa: UP035 (TorchScript knows no other)

import torch
from breaching.attacks.auxiliaries.objectives import Euclidean
from breaching.attacks.auxiliaries.regularizers import TotalVariation
from torch import Tensor, nn

from gradinv.attacks.gradient_matching.priors import Candidate, Prior


class InnerTotalVariation(TotalVariation):
    """Mean absolute difference of neighbours: breaching's without the differences to its border of zeros."""

    def forward(self, tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
        """The weighted penalty."""
        differences = nn.functional.conv2d(tensor, self.weight, padding=1, groups=self.groups)
        sizes = (differences.abs() + self.eps).pow(self.inner_exp)
        return (sizes[:, 0::2, :-1].mean() + sizes[:, 1::2, :, :-1].mean()) * self.scale


class LayerwiseEuclidean(Euclidean):
    """Sum of the layers' un-squared l2 norms: breaching's has half the sum of their squares."""

    def gradient_based_loss(self, gradient_rec: list[Tensor], gradient_data: list[Tensor]) -> Tensor:
        """The weighted distance."""
        return _sum_of_norms(gradient_rec, gradient_data) * self.scale


class OurPrior(nn.Module):
    """A prior of ours as a regulariser of breaching."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def initialize(self, *args: object, **kwargs: object) -> None:
        """Nothing to do."""

    def forward(self, tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
        """The weighted penalty."""
        return self.prior.weight * self.prior(Candidate(tensor))


@torch.jit.script
def _sum_of_norms(left: List[Tensor], right: List[Tensor]) -> Tensor:  # noqa: UP006
    total = left[0].new_zeros(1)
    for a, b in zip(left, right):  # noqa: B905 (TorchScript has no strict)
        total += (a - b).pow(2).sum().sqrt()
    return total
