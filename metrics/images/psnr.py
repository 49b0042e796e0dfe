"""PSNR: how far apart two images are, pixel by pixel."""

import torch
from torch import Tensor

from gradinv.metrics.images.scoring import register_metric


@register_metric(
    "psnr",
    title="PSNR",
    meaning="peak signal-to-noise ratio, inf for an exact image",
    direction="higher",
    unit="dB",
    low=0.0,
    cap=100.0,
    board_column=10,
    panel=True,
)
def psnr(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image for a data range of 1, in dB: -10 log10 of the mean squared error.

    (B, C, H, W) in [0, 1] -> (B,) in [0, inf]; inf for an exact image and for that one only.

    >>> psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1))
    tensor([20.])
    """
    difference = (reconstructions - originals).flatten(1)
    # Squares of small differences would underflow to an exact image, so the largest is taken out first.
    scale = difference.abs().amax(1).clamp_min(torch.finfo(difference.dtype).tiny)
    relative = (difference / scale[:, None]).square().mean(1)
    return -20 * scale.log10() - 10 * relative.log10()
