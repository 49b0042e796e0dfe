"""PSNR against scikit-image, and where squares would underflow."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from gradinv.metrics.images.psnr import psnr


@pytest.mark.parametrize("size", [(32, 32), (24, 33)])
def test_it_is_scikit_images(pair, arrays, size) -> None:
    images = pair(size)
    oracle = [peak_signal_noise_ratio(true, made, data_range=1) for made, true in arrays(images)]
    assert psnr(*images).tolist() == pytest.approx(oracle, abs=1e-3)


def test_it_is_infinite_for_an_exact_image_alone() -> None:
    originals = torch.rand(3, 3, 8, 8)
    originals[1, 0, 0, 0] = 0.0
    reconstructions = originals.clone()
    reconstructions[1, 0, 0, 0] = 1e-30  # its square is 0 in float32
    reconstructions[2] = 1 - originals[2]
    values = psnr(reconstructions, originals)
    assert values[0] == math.inf
    assert values[1].item() == pytest.approx(600 + 10 * math.log10(3 * 8 * 8), rel=1e-5)
    assert 0 <= values[2] < 20
