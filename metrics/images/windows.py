"""Windows of SSIM's family: Gaussian means around every pixel, and what follows from them."""

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of the window in pixels (Wang et al. 2004)."""


def window_means(images: Tensor, window: int = WINDOW, sigma: float = SIGMA) -> Tensor:
    """Mean under a Gaussian window wherever it fits, (B, C, H, W) -> (B, C, H - window + 1, W - window + 1)."""
    places = torch.arange(window, dtype=images.dtype, device=images.device) - window // 2
    weights = torch.softmax(-places.square() / (2 * sigma**2), 0)
    single = images.flatten(0, 1)[:, None]
    # The Gaussian is a product of two lines: two passes of a few products a pixel instead of one of their square.
    rows = F.conv2d(single, weights.view(1, 1, -1, 1))
    return F.conv2d(rows, weights.view(1, 1, 1, -1)).unflatten(0, images.shape[:2])[:, :, 0]


def window_moments(made: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means of both, variances of both, covariance: under the window around every pixel that it covers wholly."""
    made_mean, true_mean = window_means(made), window_means(true)
    made_variance = window_means(made.square()) - made_mean.square()
    true_variance = window_means(true.square()) - true_mean.square()
    covariance = window_means(made * true) - made_mean * true_mean
    return made_mean, true_mean, made_variance, true_variance, covariance
