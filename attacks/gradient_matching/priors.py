"""Image priors: what an attacker believes of photographs, and of the statistics that they leave in a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gradinv.attacks.gradient_matching.distances import norm
from gradinv.attacks.leak import Autoencoder, reencoded


@dataclass(frozen=True)
class Candidate:
    """What a prior sees: the images (B, C, H, W), normalised, and the batch-norm statistics of their forward pass.

    `granted` are the statistics that the leak grants; both are empty unless the prior needs them. `logits`, (B,
    classes), are there for a prior that needs predictions; `labels` are (B,) or probabilities (B, classes).
    `autoencoder` is what public images have taught, with `mean` and `std`, (C, 1, 1) each, that make pixels of the
    images; empty unless the prior needs it.
    """

    images: Tensor
    bn_statistics: Sequence[tuple[Tensor, Tensor]] = ()
    granted: Sequence[tuple[Tensor, Tensor]] = ()
    logits: Tensor | None = None
    labels: Tensor | None = None
    autoencoder: Autoencoder = field(default_factory=dict)


class Prior:
    """A penalty on a candidate; `term` is what records call it."""

    needs_bn_statistics = False
    needs_predictions = False
    needs_autoencoder = False
    term = "prior"

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted."""
        raise TypeError(f"{type(self).__name__} has no __call__ method")


class TotalVariation(Prior):
    """Mean absolute difference of horizontal plus that of vertical neighbours (Geiping et al. 2020; their code).

    >>> TotalVariation(1.0)(Candidate(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))).item()
    1.0
    """

    term = "tv"

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted; 0 for a constant image."""
        # Means and not sums, as in the authors' code, to which the published weights belong.
        x = candidate.images
        return (x[..., :, 1:] - x[..., :, :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()


class TotalVariationL2(Prior):
    """Sum of the l2 norms of the differences in four directions, each over the whole batch.

    The R_TV of GradInversion (Yin et al. 2021, Eq. 9), whose norm the paper leaves open, as its authors normalise it in
    DeepInversion (Yin et al. 2020).

    >>> TotalVariationL2(1.0)(Candidate(torch.ones(1, 1, 4, 4))).item()
    0.0
    """

    term = "tv"

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted; 0 for a constant image."""
        # Neither squared nor averaged over images: the weight 1e-4 belongs to the norms of the whole batch.
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

    term = "l2"

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted."""
        return torch.linalg.vector_norm(candidate.images.flatten(1), dim=1).mean()


class Prediction(Prior):
    """Mean over the images of ||softmax - label||^2: the network is to see what the label says.

    The label-based regulariser of CPL (Wei et al. 2020, Eq. 5). Without labels, as of an attack that sees no gradient
    to infer them from, it is 0.

    >>> Prediction(1.0)(Candidate(torch.ones(1, 1, 2, 2), logits=torch.zeros(1, 2), labels=torch.tensor([0]))).item()
    0.5
    """

    needs_predictions = True
    term = "prediction"

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted."""
        logits, labels = candidate.logits, candidate.labels
        if logits is None or labels is None:
            raise ValueError("this prior needs predictions and labels")
        if not labels.numel():
            # Not a plain 0: as the only term it must still have a gradient for the images, which autograd is asked for.
            return candidate.images.sum() * 0
        wanted = labels if labels.is_floating_point() else one_hot(labels, logits.shape[-1])
        # In the images' own precision: an engine may run the network in bfloat16.
        return (logits.to(candidate.images.dtype).softmax(dim=-1) - wanted).square().sum(dim=-1).mean()


class ReconstructionError(Prior):
    """Mean squared error of the pixels after an autoencoder that public images have trained.

    The anomaly score of GI-PIP (Sun et al. 2024), here a mean over the pixels in [0, 1].
    """

    needs_autoencoder = True
    term = "autoencoder"

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty of images (..., C, H, W), not yet weighted; 0 for what the autoencoder leaves as it is."""
        if not candidate.autoencoder:
            raise ValueError("this prior needs an autoencoder")
        weights = dict(candidate.autoencoder)
        mean, std = weights.pop("mean"), weights.pop("std")
        pixels = candidate.images.flatten(0, -4) * std + mean
        return (reencoded(weights, pixels) - pixels).square().mean()


LEAST_VALUES = 16
"""Values a channel below which a variance says little: its relative standard error is sqrt(2 / (n - 1)), 37 %."""


def limits_of_statistics(values: Sequence[int]) -> tuple[str, ...]:
    """What is to be said of a batch-norm prior whose layers see so many values a channel; mostly nothing.

    >>> limits_of_statistics([1024, 16, 4, 1])[0]
    'batch-norm prior: 2 of 4 layers see fewer than 16 values a channel, the fewest 1, whose variance is 0'
    """
    few = [count for count in values if count < LEAST_VALUES]
    if not few:
        return ()
    fewest = f"the fewest {min(few)}" + (", whose variance is 0" if min(few) == 1 else "")
    share = f"{len(few)} of {len(values)} layers"
    return (f"batch-norm prior: {share} see fewer than {LEAST_VALUES} values a channel, {fewest}",)


class BatchNormStatistics(Prior):
    """Sum over the batch-norm layers of un-squared l2 distances of mean and variance (Yin et al. 2021, Eq. 10).

    The candidate's variance is the biased one. The target is what the leak grants: running or exact statistics.
    """

    needs_bn_statistics = True
    term = "bn"

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty, not yet weighted; 0 where the candidate has the granted statistics."""
        # DeepInversion weighs the first layer tenfold. Eq. 10 does not, nor does the authors' later code for federated
        # learning, so all layers count alike.
        pairs = zip(candidate.bn_statistics, candidate.granted, strict=True)
        return torch.stack([norm(m - mean) + norm(v - var) for (m, v), (mean, var) in pairs]).sum()
