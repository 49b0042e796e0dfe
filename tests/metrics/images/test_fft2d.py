"""FFT2D against NumPy, and what it is blind to."""

import math

import numpy as np
import pytest

from gradinv.metrics.images.fft2d import fft2d


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_numpys(pair, arrays, channels) -> None:
    images = pair((17, 32), channels)
    oracle = []
    for arrayed in arrays(images):
        spectra = [np.abs(np.fft.fft2(image, axes=(0, 1))) / math.sqrt(17 * 32) for image in arrayed]
        oracle.append(np.abs(spectra[0] - spectra[1]).mean())
    assert fft2d(*images).tolist() == pytest.approx(oracle, rel=1e-4)


def test_it_ignores_a_circular_shift_that_the_squared_error_sees(pair) -> None:
    _, originals = pair()
    shifted = originals.roll((5, 3), (2, 3))
    assert fft2d(shifted, originals).max() < 1e-5
    assert (shifted - originals).square().mean((1, 2, 3)).min() > 1e-3


def test_it_is_at_most_the_root_mean_squared_error(pair) -> None:
    reconstructions, originals = pair(noise=0.3)
    error = (reconstructions - originals).square().mean((1, 2, 3)).sqrt()
    assert (fft2d(reconstructions, originals) <= error).all()
