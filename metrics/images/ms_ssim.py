"""MS-SSIM: structural similarity at five scales, for images that are large enough to have them."""

from torch import Tensor
from torch.nn import functional as F

from gradinv.metrics.images.scoring import register_metric
from gradinv.metrics.images.windows import window_moments

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first: section 3.2 of the paper
_C1, _C2 = 0.01**2, 0.03**2


@register_metric(
    "ms_ssim",
    title="MS-SSIM",
    meaning="structural similarity at five scales, Wang et al. 2003",
    direction="higher",
    low=0.0,
    high=1.0,
    min_size=176,  # 11 pixels of window after four halvings
)
def ms_ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Multi-scale structural similarity of each image, on the valid window of each of five scales.

    (B, 1 or 3, H, W) in [0, 1], from 176 px on, where the 11 pixel window fits after four halvings as in the authors'
    code -> (B,) in [0, 1]. Window and constants as in `ssim`; the mean over channels and pixels is taken at each scale,
    and a negative one, which has no real power, counts as 0 (Wang et al. 2003, "Multi-scale structural similarity for
    image quality assessment", Eq. 7).

    >>> import torch
    >>> image = torch.rand(1, 3, 176, 176)
    >>> ms_ssim(image, image)
    tensor([1.])
    """
    made, true = reconstructions.double(), originals.double()  # a variance is a small difference of two squares
    value = made.new_ones(len(made))
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            made, true = _halve(made), _halve(true)
        luminance, contrast = _terms(made, true)
        # Luminance counts at the coarsest scale only: Eq. 7 of the paper.
        similarity = luminance * contrast if scale == len(_WEIGHTS) - 1 else contrast
        value *= similarity.mean((1, 2, 3)).clamp_min(0) ** weight
    return value.to(originals.dtype)


def _terms(made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, at every pixel that the window covers wholly."""
    made_mean, true_mean, made_variance, true_variance, covariance = window_moments(made, true)
    luminance = (2 * made_mean * true_mean + _C1) / (made_mean.square() + true_mean.square() + _C1)
    return luminance, (2 * covariance + _C2) / (made_variance + true_variance + _C2)


def _halve(images: Tensor) -> Tensor:
    """Means of 2x2 pixels; a last odd row or column is repeated, so that it is kept."""
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)
