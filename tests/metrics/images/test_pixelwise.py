"""PSNR and SSIM against scikit-image, GMSD and FFT2D against NumPy and SciPy."""

import math

import numpy as np
import pytest
import torch
from gradinv.metrics.images.pixelwise import fft2d, gmsd, psnr, ssim
from gradinv.metrics.images.scoring import METRICS
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

ALL = (psnr, ssim, gmsd, fft2d)


def pair(
    size: tuple[int, int] = (32, 32), channels: int = 3, batch: int = 3, noise: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Smooth originals and noisy reconstructions."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, channels, 5, 5, generator=generator)
    originals = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    reconstructions = (originals + noise * torch.randn(originals.shape, generator=generator)).clamp(0, 1)
    return reconstructions, originals


def images(pair: tuple[Tensor, Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same as (H, W, C) arrays of doubles, image by image."""
    ours, theirs = (images.double().permute(0, 2, 3, 1).numpy() for images in pair)
    return list(zip(ours, theirs, strict=True))


@pytest.mark.parametrize("metric", ALL)
def test_values_are_per_image_and_do_not_depend_on_the_batch(metric) -> None:
    reconstructions, originals = pair()
    together = metric(reconstructions, originals)
    alone = torch.cat([metric(reconstructions[i : i + 1], originals[i : i + 1]) for i in range(3)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_in_their_range_and_get_worse_with_noise(metric, channels: int) -> None:
    entry = METRICS.get(metric.__name__).metadata
    means = []
    for noise in (0.0, 0.02, 0.1, 0.5):
        values = metric(*pair(noise=noise, channels=channels))
        assert ((values >= entry["low"]) & (values <= entry["high"] + 1e-6)).all()
        means.append(values.mean().item())
    assert means == sorted(means, reverse=entry["direction"] == "higher")


@pytest.mark.parametrize("metric", [ssim, gmsd, fft2d])
@pytest.mark.parametrize("size", [(11, 11), (28, 33), (64, 64)])
def test_an_exact_image_has_the_best_value(metric, size: tuple[int, int]) -> None:
    _, originals = pair(size)
    best = {ssim: 1.0, gmsd: 0.0, fft2d: 0.0}[metric]
    torch.testing.assert_close(metric(originals, originals), torch.full((3,), best), atol=1e-5, rtol=0)


def test_psnr_is_scikit_images() -> None:
    both = pair()
    oracle = [peak_signal_noise_ratio(theirs, ours, data_range=1) for ours, theirs in images(both)]
    assert psnr(*both).tolist() == pytest.approx(oracle, abs=1e-3)


def test_psnr_is_infinite_for_an_exact_image_alone() -> None:
    originals = torch.rand(3, 3, 8, 8)
    originals[1, 0, 0, 0] = 0.0
    reconstructions = originals.clone()
    reconstructions[1, 0, 0, 0] = 1e-30  # its square is 0 in float32
    reconstructions[2] = 1 - originals[2]
    values = psnr(reconstructions, originals)
    assert values[0] == math.inf
    assert values[1].item() == pytest.approx(600 + 10 * math.log10(3 * 8 * 8), rel=1e-5)
    assert 0 <= values[2] < 20


@pytest.mark.parametrize("size", [(11, 11), (32, 32), (28, 45), (96, 96)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images_with_the_settings_of_the_paper(size: tuple[int, int], channels: int) -> None:
    both = pair(size, channels)
    oracle = [
        structural_similarity(
            theirs, ours, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for ours, theirs in images(both)
    ]
    assert ssim(*both).tolist() == pytest.approx(oracle, abs=2e-5)


def test_ssim_of_constant_images_is_its_luminance_term() -> None:
    black, grey = torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 0.5)
    assert ssim(black, grey).item() == pytest.approx(1e-4 / (0.25 + 1e-4), rel=1e-3)


def gmsd_oracle(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Xue et al. 2014 on pixels in [0, 255] with T = 170, by full convolutions as in MATLAB's conv2(..., 'same')."""
    kernel = np.array([[1, 0, -1]] * 3) / 3

    def magnitude(image: np.ndarray) -> np.ndarray:
        luma = 255 * (image @ [0.299, 0.587, 0.114] if image.shape[-1] == 3 else image[..., 0])
        halved = convolve2d(luma, np.ones((2, 2)) / 4)[1:, 1:][::2, ::2]
        return np.hypot(convolve2d(halved, kernel, "same"), convolve2d(halved, kernel.T, "same"))

    a, b = magnitude(ours), magnitude(theirs)
    return float(np.std((2 * a * b + 170) / (a**2 + b**2 + 170)))


@pytest.mark.parametrize("size", [(6, 6), (32, 32), (33, 28), (64, 47)])
@pytest.mark.parametrize("channels", [1, 3])
def test_gmsd_is_the_papers(size: tuple[int, int], channels: int) -> None:
    both = pair(size, channels)
    assert gmsd(*both).tolist() == pytest.approx([gmsd_oracle(*each) for each in images(both)], abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_fft2d_is_numpys(channels: int) -> None:
    both = pair((17, 32), channels)
    oracle = []
    for ours, theirs in images(both):
        spectra = [np.abs(np.fft.fft2(image, axes=(0, 1))) / math.sqrt(17 * 32) for image in (ours, theirs)]
        oracle.append(np.abs(spectra[0] - spectra[1]).mean())
    assert fft2d(*both).tolist() == pytest.approx(oracle, rel=1e-4)


def test_fft2d_ignores_a_circular_shift_that_the_squared_error_sees() -> None:
    _, originals = pair()
    shifted = originals.roll((5, 3), (2, 3))
    assert fft2d(shifted, originals).max() < 1e-5
    assert (shifted - originals).square().mean((1, 2, 3)).min() > 1e-3


def test_fft2d_is_at_most_the_root_mean_squared_error() -> None:
    reconstructions, originals = pair(noise=0.3)
    error = (reconstructions - originals).square().mean((1, 2, 3)).sqrt()
    assert (fft2d(reconstructions, originals) <= error).all()
