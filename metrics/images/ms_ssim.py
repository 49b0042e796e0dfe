"""MS-SSIM: structural similarity at five scales, for images that are large enough to have them."""

import torch
from gradinv.metrics.images.scoring import register_metric
from torch import Tensor
from torch.nn import functional as F

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first: section 3.2 of the paper
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


@register_metric("ms_ssim", title="MS-SSIM", direction="higher", low=0.0, high=1.0, min_size=176)
def ms_ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Multi-scale structural similarity of each image, on the valid window of each of five scales.

    (B, 1 or 3, H, W) in [0, 1], from 176 px on, where the 11 pixel window fits after four halvings as in the authors'
    code -> (B,) in [0, 1]. Window and constants as in `ssim`; the mean over channels and pixels is taken at each scale,
    and a negative one, which has no real power, counts as 0 (Wang et al. 2003, "Multi-scale structural similarity for
    image quality assessment", Eq. 7).

    >>> image = torch.rand(1, 3, 176, 176)
    >>> ms_ssim(image, image)
    tensor([1.])
    """
    ours, theirs = reconstructions.double(), originals.double()  # a variance is a small difference of two squares
    value = ours.new_ones(len(ours))
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            ours, theirs = _halve(ours), _halve(theirs)
        luminance, contrast = _terms(ours, theirs)
        similarity = luminance * contrast if scale == len(_WEIGHTS) - 1 else contrast
        value *= similarity.mean((1, 2, 3)).clamp_min(0) ** weight
    return value.to(originals.dtype)


def _terms(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, at every pixel that the window covers wholly."""
    mean, other = _blur(ours), _blur(theirs)
    variance, other_variance = _blur(ours.square()) - mean.square(), _blur(theirs.square()) - other.square()
    covariance = _blur(ours * theirs) - mean * other
    luminance = (2 * mean * other + _C1) / (mean.square() + other.square() + _C1)
    return luminance, (2 * covariance + _C2) / (variance + other_variance + _C2)


def _blur(images: Tensor) -> Tensor:
    """Mean under the Gaussian window, (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    places = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    window = torch.softmax(-places.square() / (2 * _SIGMA**2), 0)
    single = images.flatten(0, 1)[:, None]
    rows = F.conv2d(single, window.view(1, 1, -1, 1))
    return F.conv2d(rows, window.view(1, 1, 1, -1)).unflatten(0, images.shape[:2])[:, :, 0]


def _halve(images: Tensor) -> Tensor:
    """Means of 2x2 pixels; a last odd row or column is repeated, so that it is kept."""
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)
