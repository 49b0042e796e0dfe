"""Alignment against known warps of photographs, made by scikit-image, and against kornia's ImageRegistrator."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from kornia.geometry.transform import ImageRegistrator
from PIL import Image
from skimage.transform import ProjectiveTransform, warp as warp_by_skimage
from torch import Tensor

from gradinv.benchmark.datasets.photos import PHOTOGRAPHS
from gradinv.metrics.images.psnr import psnr
from gradinv.metrics.images.psnr_registered import psnr_registered
from gradinv.metrics.images.scoring import METRICS
from gradinv.metrics.registration.alignment import Alignment, _distrust, align, corner_distances, warp

NAMES = tuple(PHOTOGRAPHS)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def photograph(name: str, side: int) -> np.ndarray:
    """The middle square of a photograph, (side, side, 3) in [0, 1]."""
    with Image.open(Path(skimage.__file__).parent / "data" / PHOTOGRAPHS[name]) as image:
        short = min(image.size)
        left, top = ((length - short) // 2 for length in image.size)
        square = image.convert("RGB").crop((left, top, left + short, top + short))
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32) / 255


def shrink(picture: np.ndarray, size: int) -> np.ndarray:
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(picture, -1, 0)]
    return np.stack([np.asarray(channel.resize((size, size), Image.Resampling.BICUBIC)) for channel in channels])


def draw(random: np.random.RandomState, size: int) -> np.ndarray:
    """A transform (3, 3) of pixels, about the centre: shift <= 5 %, rotation <= 5 degrees, scale 0.95-1.05."""
    across, down = random.uniform(-0.05, 0.05, 2) * size
    angle, scale = math.radians(random.uniform(-5, 5)), random.uniform(0.95, 1.05)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix[:2, 2] = across, down
    return about_centre(matrix, size)


def about_centre(matrix: np.ndarray, size: int) -> np.ndarray:
    centre = np.array([[1, 0, (size - 1) / 2], [0, 1, (size - 1) / 2], [0, 0, 1]])
    return centre @ matrix @ np.linalg.inv(centre)


def picture_pair(name: str, size: int, transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A moving and a fixed picture (3, size, size): warped while large, then both made small."""
    factor = 2 if size > 100 else 256 // size
    large = photograph(name, factor * size)
    enlarge = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    inverse = np.linalg.inv(enlarge @ transform @ np.linalg.inv(enlarge))
    moved = warp_by_skimage(large, ProjectiveTransform(inverse), order=1, mode="reflect")
    return shrink(moved.astype(np.float32), size), shrink(large, size)


@cache
def pairs(size: int, count: int, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Moving, fixed (count, 3, size, size) and the true transforms (count, 3, 3); the noise is in the moving ones."""
    random = np.random.RandomState(size)
    transforms = [draw(random, size) for _ in range(count)]
    pictures = [picture_pair(NAMES[i % len(NAMES)], size, transform) for i, transform in enumerate(transforms)]
    moving, fixed = (torch.tensor(np.stack(images)) for images in zip(*pictures, strict=True))
    return add_noise(moving, noise), fixed, torch.tensor(np.stack(transforms), dtype=torch.float32)


def add_noise(images: Tensor, sigma: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return images + sigma * torch.randn(images.shape, generator=generator, dtype=images.dtype)


def corner_error(transforms: Tensor, true_transforms: Tensor, size: int) -> Tensor:
    """(N,) pixels between where two transforms send a corner of an image, mean of the four."""
    return corner_distances(transforms, true_transforms, (size, size)).mean(1)


def errors(alignment: Alignment, true_transforms: Tensor) -> Tensor:
    return corner_error(alignment.transforms, true_transforms, alignment.images.shape[-1])


def assert_identity(alignment: Alignment, moving: Tensor) -> None:
    """Every pair was rejected and left alone."""
    assert not alignment.accepted.any()
    assert all(alignment.reasons)
    torch.testing.assert_close(alignment.images, moving, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(alignment.transforms, torch.eye(3).expand(len(moving), 3, 3))
    assert alignment.coverage.all()


@pytest.mark.parametrize(
    ("size", "count", "noise", "median", "most"),
    [
        (32, 40, 0.1, 0.15, 0.4),
        (64, 40, 0.1, 0.15, 0.4),
        (224, 8, 0.1, 0.15, 0.4),
        (32, 40, 0.25, 0.3, 0.8),
        (64, 40, 0.25, 0.15, 0.4),
    ],
)
def test_similarities_of_photographs_are_found_in_noise(size, count, noise, median, most) -> None:
    moving, fixed, true_transforms = pairs(size, count, noise)
    alignment = align(moving, fixed)
    assert alignment.accepted.float().mean() >= 0.9
    distances = errors(alignment, true_transforms)
    assert distances.median() <= median
    assert distances.quantile(0.9) <= most


def test_a_transform_is_a_similarity() -> None:
    moving, fixed, _ = pairs(64, 8, 0.02)
    matrix = align(moving, fixed).transforms
    (a, b), (c, d) = matrix[:, 0, :2].unbind(1), matrix[:, 1, :2].unbind(1)
    torch.testing.assert_close(torch.stack([a, b]), torch.stack([d, -c]), atol=1e-5, rtol=0)
    assert matrix[:, 2].equal(torch.tensor([0.0, 0.0, 1.0]).expand(8, 3))
    assert ((a - 1).abs() > 1e-3).any()
    assert (b.abs() > 1e-3).any()


def test_kornias_registrator_finds_the_same_transforms() -> None:
    size = 64
    moving, fixed, true_transforms = pairs(size, 3)
    half = (size - 1) / 2
    normalise = torch.tensor([[1 / half, 0, -1], [0, 1 / half, -1], [0, 0, 1]])
    oracles = []
    for moving_image, fixed_image in zip(moving.split(1), fixed.split(1), strict=True):
        torch.manual_seed(0)
        registrator = ImageRegistrator("similarity", pyramid_levels=3, lr=3e-3, num_iterations=200, tolerance=1e-8)
        transform = registrator.register(moving_image, fixed_image).detach()[0]
        oracles.append(torch.linalg.inv(normalise) @ transform @ normalise)
    oracle = torch.stack(oracles)
    assert corner_error(oracle, true_transforms, size).max() < 0.5
    assert errors(align(moving, fixed), oracle).max() < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_integer_shift_is_exact(dtype) -> None:
    large = torch.tensor(shrink(photograph("coffee", 256), 48)[None], dtype=dtype)
    fixed, moving = large[..., 4:44, 4:44], large[..., 1:41, 6:46]
    alignment = align(moving, fixed)
    expected = torch.tensor([[[1, 0, -2], [0, 1, 3], [0, 0, 1]]], dtype=dtype)
    torch.testing.assert_close(alignment.transforms, expected, atol=2e-3, rtol=0)
    assert alignment.images.dtype == dtype
    covered = alignment.coverage.expand_as(fixed)
    torch.testing.assert_close(alignment.images[covered], fixed[covered], atol=5e-3, rtol=0)
    assert alignment.coverage.sum() == (40 - 2) * (40 - 3)


def test_a_wide_image_is_aligned_like_a_square_one() -> None:
    large = torch.tensor(shrink(photograph("coffee", 256), 64)[None])
    alignment = align(large[..., 10:42, 3:60], large[..., 12:44, 2:59])
    torch.testing.assert_close(alignment.transforms[0, :2, 2], torch.tensor([-1.0, 2.0]), atol=0.01, rtol=0)


def test_single_and_double_precision_agree() -> None:
    moving, fixed, _ = pairs(32, 8, 0.1)
    single, double = align(moving, fixed), align(moving.double(), fixed.double())
    assert errors(double, single.transforms).max() < 0.01


def test_a_batch_is_aligned_like_its_pairs() -> None:
    moving, fixed, _ = pairs(32, 8, 0.1)
    together = align(moving, fixed)
    alone = [align(*pair) for pair in zip(moving.split(1), fixed.split(1), strict=True)]
    assert errors(together, torch.cat([pair.transforms for pair in alone])).max() < 1e-3
    torch.testing.assert_close(together.images, torch.cat([pair.images for pair in alone]), atol=1e-3, rtol=0)
    assert together.reasons == sum((pair.reasons for pair in alone), ())


@pytest.mark.parametrize(("gain", "bias"), [(0.3, 0.4), (5.0, -100.0), ((0.5, 1.0, 2.0), (-1.0, 0.0, 1.0))])
def test_gain_and_bias_of_every_channel_do_not_matter(gain, bias) -> None:
    moving, fixed, _ = pairs(32, 8, 0.05)
    gains, biases = (torch.tensor(values).expand(3)[:, None, None] for values in (gain, bias))
    plain = align(moving, fixed)
    assert errors(align(gains * moving + biases, fixed), plain.transforms).max() < 0.01
    assert errors(align(moving, gains * fixed + biases), plain.transforms).max() < 0.01


def test_turning_both_images_turns_the_transform() -> None:
    moving, fixed, _ = pairs(32, 8, 0.05)
    quarter = torch.tensor(about_centre(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), 32), dtype=torch.float32)
    turned = align(moving.rot90(1, (2, 3)), fixed.rot90(1, (2, 3)))
    assert errors(turned, quarter.inverse() @ align(moving, fixed).transforms @ quarter).max() < 0.02


def test_swapping_the_images_inverts_the_transform() -> None:
    moving, fixed, _ = pairs(64, 8)
    swapped = align(fixed, moving)
    assert errors(swapped, torch.linalg.inv(align(moving, fixed).transforms)).max() < 0.2


def test_a_foreign_patch_does_not_pull_the_transform() -> None:
    moving, fixed, true_transforms = (values.clone() for values in pairs(64, 8, 0.02))
    moving[:, :, 8:28, 36:56] = moving.flip(0)[:, :, 30:50, 10:30]
    assert errors(align(moving, fixed), true_transforms).median() < 0.1


@pytest.mark.parametrize("size", [32, 64])
def test_images_that_are_aligned_already_stay(size) -> None:
    _, fixed, _ = pairs(size, 40)
    identity = torch.eye(3).expand(40, 3, 3)
    for moving, most in ((fixed, 1e-3), (add_noise(fixed, 0.1), 0.5)):
        alignment = align(moving, fixed)
        assert alignment.accepted.float().mean() >= 0.9
        assert errors(alignment, identity).max() < most


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.25])
def test_unrelated_images_are_rejected(size, noise) -> None:
    moving, fixed, _ = pairs(size, 40)
    moving = add_noise(moving, noise)
    accepted = [align(moving, fixed.roll(k, 0)).accepted for k in (1, 3, 5)]
    assert torch.cat(accepted).float().mean() <= 0.05


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_flat_images_are_rejected(noise) -> None:
    _, fixed, _ = pairs(32, 8)
    grey = torch.full_like(fixed, 0.5)
    assert_identity(align(add_noise(grey, noise), fixed), add_noise(grey, noise))
    assert_identity(align(add_noise(fixed, noise), grey), add_noise(fixed, noise))
    assert_identity(align(add_noise(grey, noise, 1), add_noise(grey, noise, 2)), add_noise(grey, noise, 1))
    assert align(grey, fixed).reasons == ("no texture",) * 8


def test_an_inverted_image_is_rejected() -> None:
    _, fixed, _ = pairs(32, 8)
    assert_identity(align(1 - fixed, fixed), 1 - fixed)


def test_a_shift_too_far_is_rejected() -> None:
    large = torch.tensor(shrink(photograph("coffee", 256), 96)[None])
    assert_identity(align(large[..., 8:72, 28:92], large[..., 8:72, 2:66]), large[..., 8:72, 28:92])


@pytest.mark.parametrize(
    ("shift", "reasons"),
    [(0, []), (3, ["photometric gain"]), (10, ["corner shift", "photometric gain"]), (20, ["overlap", "corner shift"])],
)
def test_a_wrong_transform_is_told_by_every_sign(shift, reasons) -> None:
    _, fixed, _ = pairs(64, 8)
    transforms = torch.eye(3).repeat(8, 1, 1)
    transforms[:, :2, 2] = shift
    signs = _distrust(fixed, fixed, transforms)
    assert all(signs[reason].all() for reason in reasons)
    assert not any(failed.any() for reason, failed in signs.items() if shift == 0 or reason == "overlap" != reasons[0])


def test_values_that_are_not_finite_are_rejected_and_leave_the_rest_alone() -> None:
    moving, fixed, _ = pairs(32, 8, 0.05)
    broken = moving.clone()
    broken[2, 0, 3, 3] = math.nan
    broken[5, 1] = math.inf
    alignment = align(broken, fixed)
    assert {index for index, reason in enumerate(alignment.reasons) if reason == "not finite"} == {2, 5}
    assert_identity(align(broken[[2, 5]], fixed[[2, 5]]), broken[[2, 5]])
    rest = [0, 1, 3, 4, 6, 7]
    assert corner_error(alignment.transforms[rest], align(moving, fixed).transforms[rest], 32).max() < 1e-3


@pytest.mark.parametrize(("size", "noise", "least"), [(32, 0.1, 2.0), (64, 0.1, 2.0), (32, 0.25, 1.0), (64, 0.25, 1.0)])
def test_an_aligned_group_has_a_better_mean(size, noise, least) -> None:
    """Eight noisy agents, aligned to their mean; the consensus is scored where it lies best."""
    random = np.random.RandomState(0)
    gains = []
    for name in ("astronaut", "chelsea", "coffee", "motorcycle"):
        pictures = [picture_pair(name, size, draw(random, size)) for _ in range(8)]
        original = torch.tensor(pictures[0][1])[None]
        agents = add_noise(torch.tensor(np.stack([moved for moved, _ in pictures])), noise)
        lazy = agents.mean(0, keepdim=True)
        group = align(agents, lazy.expand_as(agents))
        cover = group.coverage.float()
        consensus = (group.images * cover).sum(0, keepdim=True) / cover.sum(0, keepdim=True).clamp_min(1)
        # The frame of the mean is that of the original up to a small warp, which either may undo.
        scores = psnr_registered(torch.cat([consensus, lazy]), original.expand(2, -1, -1, -1))
        gains.append((scores[0] - scores[1]).item())
    assert np.mean(gains) >= least


def test_warp_is_scipys_up_to_the_border() -> None:
    random = np.random.RandomState(1)
    image = random.rand(24, 24).astype(np.float32)
    transform = draw(random, 24)
    oracle = warp_by_skimage(image, ProjectiveTransform(transform), order=1, mode="edge")
    warped, coverage = warp(torch.tensor(image)[None, None], torch.tensor(transform, dtype=torch.float32)[None])
    np.testing.assert_allclose(warped[0, 0], oracle, atol=1e-4)
    y, x = np.mgrid[:24, :24]
    positions = (transform @ np.stack([x.ravel(), y.ravel(), np.ones(576)]))[:2]
    outermost = np.abs(positions - 11.5).max(0).reshape(24, 24)
    np.testing.assert_array_equal(coverage[0, 0].numpy(), outermost <= 12)
    assert 0 < coverage.float().mean() < 1


def test_nothing_is_covered_and_all_is_finite_where_a_transform_is_lost() -> None:
    for value in (math.nan, 1e30):
        warped, coverage = warp(torch.rand(1, 1, 16, 16), torch.full((1, 3, 3), value))
        assert warped.isfinite().all()
        assert not coverage.any()


def test_corner_error_of_a_turn_is_closed_form() -> None:
    angle = 0.1
    turn = about_centre(
        np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]), 33
    )
    error = corner_error(torch.tensor(turn)[None], torch.eye(3)[None], 33)
    assert error.item() == pytest.approx(2 * math.sin(angle / 2) * math.hypot(16, 16))


def test_nothing_is_drawn_from_the_global_generator() -> None:
    moving, fixed, _ = (values[:1] for values in pairs(224, 8, 0.1))
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = align(moving, fixed)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(align(moving, fixed).transforms, first.transforms)


@pytest.mark.parametrize(
    ("moving", "fixed", "message"),
    [
        (torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32), "must both be"),
        (torch.rand(3, 32, 32), torch.rand(3, 32, 32), "must both be"),
        (torch.rand(1, 3, 8, 32), torch.rand(1, 3, 8, 32), "16 px or more"),
        (torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32).double(), "float32 or float64"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(moving, fixed, message) -> None:
    with pytest.raises(ValueError, match=message):
        align(moving, fixed)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [64, 224])
def test_cuda_finds_what_the_cpu_finds(size) -> None:
    moving, fixed, _ = (values[:4] for values in pairs(size, 8, 0.1))
    on_device = align(moving.cuda(), fixed.cuda())
    assert on_device.images.is_cuda
    assert errors(align(moving, fixed), on_device.transforms.cpu()).max() < 0.05


def test_registered_psnr_undoes_a_warp_of_each_image_by_itself() -> None:
    moving, fixed, true_transforms = pairs(64, 8)
    values = psnr_registered(moving, fixed)
    aligned, coverage = warp(moving, true_transforms)
    oracle = [
        psnr(image[None, :, mask[0]][..., None], original[None, :, mask[0]][..., None]).item()
        for image, original, mask in zip(aligned, fixed, coverage, strict=True)
    ]
    assert (values - torch.tensor(oracle)).abs().max() < 1
    assert (values > psnr(moving, fixed) + 2).all()
    alone = [psnr_registered(*pair) for pair in zip(moving.split(1), fixed.split(1), strict=True)]
    torch.testing.assert_close(values, torch.cat(alone), atol=0.05, rtol=0)


def test_registered_psnr_counts_covered_pixels_only() -> None:
    large = torch.tensor(shrink(photograph("coffee", 256), 48)[None]) * 0.8
    for right in (44, 36):  # a square and an oblong
        value = psnr_registered(large[..., 1:41, 6 : right + 2] + 0.1, large[..., 4:44, 4:right])
        assert value.item() == pytest.approx(20, abs=0.1)


def test_registered_psnr_is_plain_psnr_where_nothing_aligns() -> None:
    _, fixed, _ = pairs(32, 8)
    noise = torch.rand(fixed.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(psnr_registered(noise, fixed), psnr(noise, fixed))
    assert psnr_registered(fixed, fixed).tolist() == [math.inf] * 8


def test_registered_psnr_is_a_metric_but_no_column_of_a_board() -> None:
    entry = METRICS.get("psnr_registered")
    assert entry.target is psnr_registered
    assert (entry.metadata["cap"], entry.metadata["min_size"]) == (100.0, 32)
    assert entry.metadata["board_column"] is None
