"""GMSD against the paper's formula in NumPy and SciPy."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from gradinv.metrics.images.gmsd import gmsd


def written_out(made: np.ndarray, true: np.ndarray) -> float:
    """Xue et al. 2014 on pixels in [0, 255] with T = 170, by full convolutions as in MATLAB's conv2(..., 'same')."""
    kernel = np.array([[1, 0, -1]] * 3) / 3

    def magnitude(image: np.ndarray) -> np.ndarray:
        luma = 255 * (image @ [0.299, 0.587, 0.114] if image.shape[-1] == 3 else image[..., 0])
        halved = convolve2d(luma, np.ones((2, 2)) / 4)[1:, 1:][::2, ::2]
        return np.hypot(convolve2d(halved, kernel, "same"), convolve2d(halved, kernel.T, "same"))

    a, b = magnitude(made), magnitude(true)
    return float(np.std((2 * a * b + 170) / (a**2 + b**2 + 170)))


@pytest.mark.parametrize("size", [(6, 6), (32, 32), (33, 28), (64, 47)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_papers(pair, arrays, size, channels) -> None:
    images = pair(size, channels)
    assert gmsd(*images).tolist() == pytest.approx([written_out(*arrayed) for arrayed in arrays(images)], abs=1e-5)
