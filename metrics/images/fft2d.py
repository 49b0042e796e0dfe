"""FFT2D: how far apart the spectra of two images are, wherever their content lies."""

import torch
from torch import Tensor

from gradinv.metrics.images.scoring import register_metric


@register_metric(
    "fft2d",
    title="FFT2D",
    meaning="difference of the magnitude spectra, per channel; ignores a shift",
    direction="lower",
    low=0.0,
    high=1.0,
    board_column=60,
)
def fft2d(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Mean absolute difference of the magnitude spectra of each image, over channels and frequencies.

    (B, C, H, W) in [0, 1] -> (B,) in [0, 1]. The transform is orthonormal, so the value is never above the root mean
    squared error; magnitudes ignore a circular shift. Named after the metric of Yin et al. 2021 (arXiv 2104.07586,
    Table 2), whose own definition is not public: compare values of this one only with each other.

    >>> fft2d(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5))
    tensor([0.0625])
    """
    made, true = (torch.fft.fft2(images, norm="ortho").abs() for images in (reconstructions, originals))
    return (made - true).abs().mean((1, 2, 3))
