"""PSNR once aligned: what a shift, a turn or a change of scale hid from the plain one."""

import torch
from torch import Tensor

from gradinv.metrics.images.psnr import psnr
from gradinv.metrics.images.scoring import register_metric
from gradinv.metrics.registration import align


@register_metric(
    "psnr_registered",
    title="PSNR registered",
    meaning="PSNR once the image was aligned to its original",
    direction="higher",
    unit="dB",
    low=0.0,
    cap=100.0,
    min_size=32,
)
def psnr_registered(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """PSNR of each image once a similarity has aligned it to its own original, over the pixels that it then covers.

    (B, C, H, W) in [0, 1], from 32 px on -> (B,) in [0, inf] dB. Never below `psnr`, whose value stands where no
    alignment can be trusted and where interpolation costs more than the alignment brings.

    >>> coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> image = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    >>> bool(psnr_registered(image.roll(2, 3), image) > psnr(image.roll(2, 3), image) + 10)
    True
    """
    alignment = align(reconstructions, originals)
    difference = torch.where(alignment.coverage, alignment.images - originals, 0.0)
    share = alignment.coverage.to(difference.dtype).mean((1, 2, 3))
    # `psnr` divides by all pixels; 10 log10(share) makes it the mean over the covered ones.
    aligned = psnr(difference, torch.zeros_like(difference)) + 10 * share.log10()
    return torch.maximum(aligned, psnr(reconstructions, originals))
