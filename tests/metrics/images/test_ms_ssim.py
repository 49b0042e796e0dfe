"""MS-SSIM against scikit-image's SSIM maps, scale by scale, and near torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as torchmetrics_ms_ssim

from gradinv.metrics.images.ms_ssim import ms_ssim
from gradinv.metrics.images.scoring import METRICS, score_images

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def pair(size: tuple[int, int], channels: int = 3, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Smooth originals and noisy reconstructions."""
    generator = torch.Generator().manual_seed(0)
    originals = torch.nn.functional.interpolate(torch.rand(2, channels, 23, 23, generator=generator), size)
    return (originals + noise * torch.randn(originals.shape, generator=generator)).clamp(0, 1), originals


def oracle(ours: np.ndarray, theirs: np.ndarray) -> float:
    """One image (C, H, W): scikit-image's map, divided by the luminance at all scales but the coarsest."""
    value = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            ours, theirs = (halved(image) for image in (ours, theirs))
        maps = [
            structural_similarity(b, a, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                  full=True)[1] / (1 if scale == 4 else luminance(a, b))
            for a, b in zip(ours, theirs, strict=True)
        ]  # fmt: skip
        value *= max(0.0, float(np.mean([found[5:-5, 5:-5] for found in maps]))) ** weight
    return value


def luminance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = (gaussian_filter(image, 1.5, truncate=3.5) for image in (one, other))
    return (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)


def halved(image: np.ndarray) -> np.ndarray:
    """Block means; the last of an odd number of rows or columns counts twice."""
    _, height, width = image.shape
    whole = np.pad(image, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    return (whole[:, ::2, ::2] + whole[:, 1::2, ::2] + whole[:, ::2, 1::2] + whole[:, 1::2, 1::2]) / 4


@pytest.mark.parametrize("size", [(176, 176), (177, 190), (224, 224)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_scikit_images_ssim_at_five_scales(size: tuple[int, int], channels: int) -> None:
    ours, theirs = pair(size, channels)
    expected = [oracle(a.double().numpy(), b.double().numpy()) for a, b in zip(ours, theirs, strict=True)]
    assert ms_ssim(ours, theirs).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5])
def test_it_is_torchmetrics_but_for_the_padding_at_the_coarsest_scale(noise: float) -> None:
    ours, theirs = pair((256, 256), noise=noise)
    theirs_value = torchmetrics_ms_ssim(ours, theirs, data_range=1.0, reduction="none")
    torch.testing.assert_close(ms_ssim(ours, theirs), theirs_value, atol=2e-3, rtol=0)


def test_an_inverted_image_counts_as_nothing() -> None:
    _, originals = pair((176, 176))
    assert ms_ssim(1 - originals, originals).tolist() == [0, 0]


def test_it_is_not_measured_unless_it_is_asked_for_and_the_images_are_large() -> None:
    assert "ms_ssim" in METRICS.names()
    assert METRICS.get("ms_ssim").metadata["board_column"] is None
    small = torch.rand(1, 3, 175, 224)
    assert score_images(small, small, ["ms_ssim"]).notes == ("ms_ssim: defined from 176 px, the images have 175",)
