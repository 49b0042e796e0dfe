"""Structure: whether smoothed images have their contrasts in the same places, whatever noise lies over them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from gradinv.metrics.images.scoring import register_metric
from gradinv.metrics.images.windows import window_means, window_moments

_SMOOTHED = 16  # the side over the standard deviation of the smoothing
_LEAST_VARIANCE = 1e-6  # mean over windows of both variances below which there is no contrast to compare


@register_metric(
    "structure",
    title="structure",
    meaning="contrast and structure terms of SSIM, pooled over the image, after smoothing by a sixteenth of the side",
    direction="higher",
    low=-1.0,
    high=1.0,
    min_size=11,  # the window
    board_column=25,
    always=True,
    panel=True,
)
def structure(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Agreement of the contrasts of smoothed images: 2 sum(covariance) / sum(both variances), over all windows.

    (B, C, H, W) in [0, 1] -> (B,) in [-1, 1]: 1 for equal contrasts, 0 for a flat image or an unrelated one, -1 for an
    inverted one. Both are smoothed first by a Gaussian of a sixteenth of the side, so that noise and checkerboards do
    not count; the terms are SSIM's without luminance (Wang et al. 2004, Eq. 13), pooled before the division, so that
    flat windows, where noise alone decides, weigh nothing.

    >>> image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> structure(image, image), structure(torch.full_like(image, 0.5), image)
    (tensor([1.]), tensor([0.]))
    """
    made, true = (_smooth(images.double()) for images in (reconstructions, originals))
    _, _, made_variance, true_variance, covariance = window_moments(made, true)
    spread = (made_variance + true_variance).mean((1, 2, 3))
    agreement = 2 * covariance.mean((1, 2, 3)) / spread.clamp_min(_LEAST_VARIANCE)
    return torch.where(spread > _LEAST_VARIANCE, agreement, 0).to(originals.dtype)


def _smooth(images: Tensor) -> Tensor:
    """Gaussian smoothing; the image is mirrored at its edges, so that no black border is smoothed in."""
    side = min(images.shape[-2:])
    sigma = max(1.0, side / _SMOOTHED)
    reach = min(math.ceil(3 * sigma), side - 1)
    return window_means(F.pad(images, (reach,) * 4, mode="reflect"), 2 * reach + 1, sigma)
