"""GMSD: how unevenly the edges of two images agree."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gradinv.metrics.images.scoring import register_metric

_C = 170 / 255**2  # the paper's constant for 8-bit pixels, in [0, 1]
_LUMA = (0.299, 0.587, 0.114)


@register_metric(
    "gmsd",
    title="GMSD",
    meaning="gradient magnitude similarity deviation",
    direction="lower",
    low=0.0,
    high=0.5,
    min_size=6,
    board_column=50,
)
def gmsd(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation of each image, on the luma.

    (B, 1 or 3, H, W) in [0, 1] -> (B,) in [0, 0.5]. As in the authors' code, the luma is averaged over 2x2 pixels and
    everything outside it counts as 0 (Xue et al. 2014, arXiv 1308.3052, Eq. 2-6).
    """
    made, true = _gradient_magnitude(reconstructions), _gradient_magnitude(originals)
    similarity = (2 * made * true + _C) / (made.square() + true.square() + _C)
    return similarity.flatten(1).std(1, correction=0)  # the paper divides by N


def _gradient_magnitude(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, ceil(H/2), ceil(W/2)) Prewitt gradient magnitudes of the halved luma."""
    if images.shape[1] == 3:
        images = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    height, width = images.shape[-2:]
    # MATLAB's conv2 and [1:2:end] of the authors' code keep a last odd row, averaged with zeros.
    half = F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2)), 2)
    across = images.new_tensor([[1.0, 0.0, -1.0]]).expand(3, 3) / 3
    prewitt = torch.stack([across, across.T])[:, None]
    return F.conv2d(half, prewitt, padding=1).square().sum(1).sqrt()
