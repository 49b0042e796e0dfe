"""SSIM against scikit-image."""

import pytest
import torch
from skimage.metrics import structural_similarity

from gradinv.metrics.images.ssim import ssim


@pytest.mark.parametrize("size", [(11, 11), (32, 32), (28, 45), (96, 96)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_scikit_images_with_the_settings_of_the_paper(pair, arrays, size, channels) -> None:
    images = pair(size, channels)
    paper = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    oracle = [structural_similarity(true, made, channel_axis=-1, **paper) for made, true in arrays(images)]
    assert ssim(*images).tolist() == pytest.approx(oracle, abs=2e-5)


def test_of_constant_images_it_is_the_luminance_term() -> None:
    black, grey = torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 0.5)
    assert ssim(black, grey).item() == pytest.approx(1e-4 / (0.25 + 1e-4), rel=1e-3)


def test_no_rounding_leaves_the_range() -> None:
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    assert float(ssim(images + 1e-7, images).max()) <= 1
    assert ssim(images, images).tolist() == pytest.approx([1.0] * 64)
