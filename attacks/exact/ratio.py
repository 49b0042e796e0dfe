"""The ratio: of one image, a first fully connected layer's weight and bias gradients tell every pixel."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.closed_form import ClosedForm, partial_result, proved_result, reason_of_labels
from gradinv.attacks.exact.first_layer import find_first_layer, reason_without_first_layer
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack, register_preset
from gradinv.attacks.victim import Victim

PHONG_2017 = Paper(
    title="Privacy-Preserving Deep Learning: Revisited and Enhanced",
    authors="Le Trieu Phong, Yoshinori Aono, Takuya Hayashi, Lihua Wang, Shiho Moriai",
    venue="ATIS 2017",
    year=2017,
    url="https://doi.org/10.1007/978-981-10-5421-1_9",
)
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Relative difference up to which a recomputed update is the observed one: rounding, and nothing else."""


@register_attack(
    "ratio",
    paper=PHONG_2017,
    exact=True,
    letter="B",
    needs="one image; a fully connected layer with a bias on the pixels",
)
class Ratio(ClosedForm):
    """dL/dW = dL/db x^T, so that every row of it over its bias gradient is the image (Phong et al. 2017, section 3).

    The quotient is taken of the `neurons` with the largest bias gradients, by least squares: one, as in the paper, is
    exact; many average the noise of a noisy update. It holds whatever layers follow, whatever the loss, and under any
    clipping, whose factor cancels. For several images each quotient is a mixture of them, so that the attack is
    skipped. Certified where the update of the image found is a multiple of the observed one to rounding.
    """

    def __init__(self, *, neurons: Annotated[int, Field(ge=1)] = 1) -> None:
        self.neurons = neurons

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """More than one image, no such layer, or a budget below one evaluation a label."""
        if conditions.batch_size > 1:
            return "of several images the quotient is a mixture, of one it is the image"
        return (
            super().reason_to_skip(conditions) or reason_of_labels(conditions) or reason_without_first_layer(conditions)
        )

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Divide, then try every label for the certificate; nothing is drawn at random."""
        victim.require_fit(leak)
        layer = find_first_layer(victim.module, leak.image_shape)
        image = quotient(leak.gradients[layer.weight], leak.gradients[layer.bias], self.neurons)
        if image is None:
            notes = ["no neuron of the first layer has a bias gradient"]
            return partial_result(leak, [], [], label_method="", certified=[], evaluations=0, notes=notes)
        return proved_result(leak, victim, image.view(leak.image_shape), TOLERANCE[image.dtype])


# More neurons than any layer has: all of them.
register_preset("ratio.least_squares", neurons=2**20)


def quotient(weight: Tensor, bias: Tensor, neurons: int) -> Tensor | None:
    """The input (n,) of a layer with gradients (m, n) and (m,); None where no bias gradient is other than zero.

    >>> quotient(torch.tensor([[2.0, 4.0], [0.0, 0.0]]), torch.tensor([2.0, 0.0]), 1)
    tensor([1., 2.])
    """
    # Of the largest divisors rounding and noise are the smallest share.
    chosen = bias.abs().topk(min(neurons, len(bias))).indices
    rows, divisors = weight[chosen], bias[chosen]
    if not bool(divisors.any()):
        return None
    # One neuron divides, and multiplies nothing: the squares of small gradients would leave float32.
    return rows[0] / divisors[0] if len(chosen) == 1 else rows.T @ divisors / divisors.square().sum()
