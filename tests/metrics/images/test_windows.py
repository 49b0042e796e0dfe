"""Gaussian windows against SciPy's correlation of lines."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from gradinv.metrics.images.windows import window_means, window_moments


def line(window: int, sigma: float) -> np.ndarray:
    weights = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


def means(images: np.ndarray, window: int, sigma: float) -> np.ndarray:
    """Both lines of the window after each other, and only where it fits."""
    for axis in (2, 3):
        images = correlate1d(images, line(window, sigma), axis=axis, mode="constant")
    edge = window // 2
    return images[:, :, edge : images.shape[2] - edge, edge : images.shape[3] - edge]


def images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 1, 11, 11), (2, 1, 13, 40)])
@pytest.mark.parametrize(("window", "sigma"), [(11, 1.5), (7, 1.0), (3, 4.0), (1, 1.0)])
def test_means_are_scipys(shape, window, sigma):
    made = images(shape)
    got = window_means(made, window, sigma)
    assert got.shape == (*shape[:2], shape[2] - window + 1, shape[3] - window + 1)
    assert np.allclose(got.numpy(), means(made.numpy(), window, sigma), atol=1e-14)


def test_the_window_of_the_paper_is_the_default():
    made = images((1, 3, 20, 20))
    assert torch.equal(window_means(made), window_means(made, 11, 1.5))


def test_moments_are_those_of_weighted_pixels():
    made, true = images((2, 3, 14, 12)), images((2, 3, 14, 12), 1)
    weights = np.outer(line(11, 1.5), line(11, 1.5))
    got = [moment.numpy() for moment in window_moments(made, true)]
    for image, channel, top, left in np.ndindex(2, 3, 4, 2):
        first, second = (
            values[image, channel, top : top + 11, left : left + 11].numpy().ravel() for values in (made, true)
        )
        covariance = np.cov(first, second, aweights=weights.ravel(), bias=True)
        mean = [np.average(values, weights=weights.ravel()) for values in (first, second)]
        expected = [*mean, covariance[0, 0], covariance[1, 1], covariance[0, 1]]
        assert [moment[image, channel, top, left] for moment in got] == pytest.approx(expected, abs=1e-12)
