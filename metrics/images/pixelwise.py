"""Image metrics that need no network: PSNR, SSIM, GMSD, FFT2D."""

import torch
from gradinv.metrics.images.scoring import register_metric
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

_SSIM_BORDER = 5  # half of the 11 pixel window: where it would reach over the edge
_GMSD_C = 170 / 255**2  # the paper's constant for 8-bit pixels, in [0, 1]
_LUMA = (0.299, 0.587, 0.114)


@register_metric("psnr", title="PSNR", direction="higher", low=0.0, high=float("inf"), unit="dB", cap=100.0)
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


@register_metric("ssim", title="SSIM", direction="higher", low=-1.0, high=1.0, min_size=2 * _SSIM_BORDER + 1)
def ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity of each image, averaged over the valid window: no padded pixel counts.

    (B, C, H, W) in [0, 1] -> (B,) in [-1, 1]. Gaussian window of 11 pixels, sigma 1.5, K = (0.01, 0.03), per channel
    (Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", Eq. 13).
    """
    _, full = structural_similarity_index_measure(
        reconstructions, originals, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    valid = full[..., _SSIM_BORDER:-_SSIM_BORDER, _SSIM_BORDER:-_SSIM_BORDER]
    return valid.mean((1, 2, 3))


@register_metric("gmsd", title="GMSD", direction="lower", low=0.0, high=0.5, min_size=6)
def gmsd(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation of each image, on the luma.

    (B, 1 or 3, H, W) in [0, 1] -> (B,) in [0, 0.5]. As in the authors' code, the luma is averaged over 2x2 pixels and
    everything outside it counts as 0 (Xue et al. 2014, arXiv 1308.3052, Eq. 2-6).
    """
    ours, theirs = _gradient_magnitude(reconstructions), _gradient_magnitude(originals)
    similarity = (2 * ours * theirs + _GMSD_C) / (ours.square() + theirs.square() + _GMSD_C)
    return similarity.flatten(1).std(1, correction=0)


def _gradient_magnitude(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, ceil(H/2), ceil(W/2)) Prewitt gradient magnitudes of the halved luma."""
    if images.shape[1] == 3:
        images = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    height, width = images.shape[-2:]
    half = F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2)), 2)
    across = images.new_tensor([[1.0, 0.0, -1.0]]).expand(3, 3) / 3
    prewitt = torch.stack([across, across.T])[:, None]
    return F.conv2d(half, prewitt, padding=1).square().sum(1).sqrt()


@register_metric("fft2d", title="FFT2D", direction="lower", low=0.0, high=1.0)
def fft2d(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Mean absolute difference of the magnitude spectra of each image, over channels and frequencies.

    (B, C, H, W) in [0, 1] -> (B,) in [0, 1]. The transform is orthonormal, so the value is never above the root mean
    squared error; magnitudes ignore a circular shift. Named after the metric of Yin et al. 2021 (arXiv 2104.07586,
    Table 2), whose own definition is not public: compare values of this one only with each other.

    >>> fft2d(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5))
    tensor([0.0625])
    """
    ours, theirs = (torch.fft.fft2(images, norm="ortho").abs() for images in (reconstructions, originals))
    return (ours - theirs).abs().mean((1, 2, 3))
