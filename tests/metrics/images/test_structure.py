"""Structure against SciPy and a loop over windows; what smoothing forgives and what it does not."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gradinv.benchmark.datasets import create_dataset, draw_batch, mean_image
from gradinv.metrics.images.psnr import psnr
from gradinv.metrics.images.scoring import score_images
from gradinv.metrics.images.ssim import ssim
from gradinv.metrics.images.structure import structure


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_windows(made: np.ndarray, true: np.ndarray) -> float:
    """The definition for one image (C, H, W): SciPy smooths, and every 11 x 11 window is looked at by itself."""
    sigma = max(1.0, min(made.shape[1:]) / 16)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line).ravel() / line.sum() ** 2
    together = spread = 0.0
    for channel in range(len(made)):
        first, second = (
            gaussian_filter(image[channel], sigma, mode="mirror", radius=math.ceil(3 * sigma)) for image in (made, true)
        )
        for top, left in np.ndindex(first.shape[0] - 10, first.shape[1] - 10):
            windows = [image[top : top + 11, left : left + 11].ravel() for image in (first, second)]
            apart = [window - weights @ window for window in windows]
            together += weights @ (apart[0] * apart[1])
            spread += weights @ (apart[0] ** 2 + apart[1] ** 2)
    return 2 * together / spread


@pytest.mark.parametrize("size", [(11, 11), (32, 32), (28, 45), (40, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_that_of_scipy_and_a_loop_over_windows(pair, size, channels) -> None:
    made, true = pair(size, channels, 2, 0.3)
    expected = [by_windows(*images) for images in zip(made.double().numpy(), true.double().numpy(), strict=True)]
    assert structure(made, true).tolist() == pytest.approx(expected, abs=1e-6)


def test_scipys_truncation_at_three_deviations_is_the_same(pair) -> None:
    """Where the deviation is a whole number of pixels, SciPy needs no radius to be told."""
    image = pair((32, 32), 1, 1)[0].double().numpy()[0, 0]
    by_truncation = gaussian_filter(image, 2.0, mode="mirror", truncate=3)
    assert np.array_equal(by_truncation, gaussian_filter(image, 2.0, mode="mirror", radius=6))


@pytest.mark.parametrize("size", [11, 32, 96])
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_inverted_and_flat_images(pair, size, channels) -> None:
    _, true = pair((size, size), channels)
    assert structure(true, true).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert structure(1 - true, true).tolist() == pytest.approx([-1.0] * 3, abs=1e-6)
    flat = torch.full_like(true, 0.3)
    assert structure(flat, true).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert structure(flat, torch.full_like(true, 0.9)).tolist() == [0.0] * 3
    assert structure(0.5 * true + 0.3, true).tolist() == pytest.approx([0.8] * 3, abs=1e-5), "2 c / (1 + c^2), c = 1/2"


def test_it_is_symmetric(pair) -> None:
    made, true = pair(noise=0.5)
    assert structure(made, true).tolist() == pytest.approx(structure(true, made).tolist())


def test_brightness_does_not_count(pair) -> None:
    made, true = (0.5 * images + 0.1 for images in pair(noise=0.2))
    assert structure(made + 0.3, true).tolist() == pytest.approx(structure(made, true).tolist(), abs=1e-5)


def test_images_below_its_window_have_a_note() -> None:
    small = torch.rand(1, 3, 10, 10, generator=generator())
    assert score_images(small, small, ["structure"]).notes == ("structure: defined from 11 px, the images have 10",)


@pytest.fixture(scope="module")
def photographs() -> tuple[Tensor, Tensor]:
    """Photographs of eight batches, and the mean image."""
    dataset = create_dataset("photos", 32)
    batches = [draw_batch(dataset, repetition=repetition, batch_size=4) for repetition in range(8)]
    originals = torch.cat([batch.images for batch in batches])
    return originals, mean_image(dataset).expand_as(originals)


def checkerboard(size: int = 32) -> Tensor:
    places = torch.arange(size)
    return 1.0 - 2 * ((places[:, None] + places) % 2)


@pytest.mark.parametrize("disturbance", [torch.randn(32, 3, 32, 32, generator=generator()), checkerboard()])
def test_noise_and_checkerboards_do_not_hide_what_psnr_and_ssim_lose(photographs, disturbance) -> None:
    originals, mean = photographs
    disturbed = (originals + 0.6 * disturbance).clamp(0, 1)
    worse = psnr(disturbed, originals) < psnr(mean, originals)
    assert worse.float().mean() > 0.9
    assert psnr(disturbed, originals).mean() < 8.6
    gain = structure(disturbed, originals) - structure(mean, originals)
    assert (gain > 0).all()
    assert gain.mean() > 0.3
    assert (ssim(disturbed, originals) - ssim(mean, originals)).mean() < 0, "SSIM is no better than PSNR here"


def test_unrelated_photographs_are_at_0_on_average(photographs) -> None:
    originals, mean = photographs
    values = torch.cat([structure(originals.roll(places, 0), originals) for places in range(1, 9)])
    # Their contrasts agree or disagree by chance; those of unequal strength can do neither.
    assert abs(values.mean()) < 0.05
    assert values.abs().max() < 0.9
    assert structure(mean, originals).abs().max() < 0.2
