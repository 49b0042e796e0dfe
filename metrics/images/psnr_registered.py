"""PSNR after registration: what a shift, a turn or a change of scale hid from the plain one."""

import torch
from gradinv.metrics.images.pixelwise import psnr
from gradinv.metrics.images.scoring import register_metric
from gradinv.metrics.registration.align import register
from torch import Tensor


@register_metric(
    "psnr_registered",
    title="PSNR registered",
    direction="higher",
    low=0.0,
    high=float("inf"),
    unit="dB",
    cap=100.0,
    min_size=32,
)
def psnr_registered(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """PSNR of each image after a similarity has registered it onto its own original, over the pixels it then covers.

    (B, C, H, W) in [0, 1], from 32 px on -> (B,) in [0, inf] dB. Never below `psnr`, whose value stands where no
    registration can be trusted and where interpolation costs more than the registration brings.

    >>> coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> image = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    >>> bool(psnr_registered(image.roll(2, 3), image) > psnr(image.roll(2, 3), image) + 10)
    True
    """
    registration = register(reconstructions, originals)
    difference = torch.where(registration.coverage, registration.images - originals, 0.0)
    share = registration.coverage.to(difference.dtype).mean((1, 2, 3))
    registered = psnr(difference, torch.zeros_like(difference)) + 10 * share.log10()
    return torch.maximum(registered, psnr(reconstructions, originals))
