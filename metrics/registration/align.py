"""Registration of images onto images: a transform for each pair, and the identity where none can be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from gradinv.metrics.registration.direct import PARAMETERS, blur, positions, register_direct, sample
from torch import Tensor
from torch.nn import functional as F

LEAST_SIZE = 16  # pixels of the short side
LEAST_OVERLAP = 0.6  # share of the fixed image that the warped one covers
FURTHEST_CORNER = 0.2  # of the longer side
LEAST_SIGNIFICANCE = 4.0  # standard deviations; unrelated photographs stay below 3, related ones at noise 0.25 above 5
FLAT = 1e-5  # standard deviation, over the largest value, that rounding alone can give
ROUNDING = 1e-4  # of a correlation: images that were aligned already do not correlate better after their warp

Model = Literal["translation", "similarity", "affine", "homography"]


@dataclass(frozen=True)
class Registration:
    """What `register` found for each of N pairs."""

    images: Tensor  # (N, C, H, W): moving warped onto fixed; a rejected one is returned unchanged
    transforms: Tensor  # (N, 3, 3): pixels of fixed -> pixels of moving; the identity where rejected
    coverage: Tensor  # (N, 1, H, W) bool: where the warped image has data; all True where rejected
    accepted: Tensor  # (N,) bool
    reasons: tuple[str, ...]  # "" where accepted, else why rejected


@torch.no_grad()
def register(moving: Tensor, fixed: Tensor, *, model: Model = "similarity") -> Registration:
    """Register each moving image onto the fixed image of the same index.

    Both (N, C, H, W), float32 or float64 of any unit: gain and bias of each channel are ignored. Pixels stand at
    integers, (0, 0) is the centre of the first. Intensities are aligned, from 16 pixels on, by warps
    that move no corner by more than about 15 % of the size. A pair is rejected, for the first of these `reasons` that
    holds, as "not finite", "no texture" (an image is constant), "overlap" (below 60 %), "corner shift" (above 20 % of
    the size), "photometric gain" (the images would correlate less than unregistered) or "unrelated" (they correlate
    no better than at random shifts). Deterministic. ValueError for other shapes, types, sizes and names.

    >>> coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> image = F.interpolate(coarse, scale_factor=4, mode="bilinear")
    >>> register(image.roll(2, 3), image, model="translation").transforms[0, :2, 2].round().int()
    tensor([2, 0], dtype=torch.int32)
    """
    _check(moving, fixed, model)
    finite = (moving.isfinite() & fixed.isfinite()).flatten(1).all(1)
    # Standardised, so that no channel counts more for its unit.
    (ours, ours_flat), (theirs, theirs_flat) = (
        _standardised(torch.where(finite[:, None, None, None], each, 0.0)) for each in (moving, fixed)
    )
    checks = {"not finite": ~finite, "no texture": ours_flat | theirs_flat}
    transforms = register_direct(ours, theirs, model)
    images, coverage = warp(moving, transforms)
    checks |= _distrust(ours, theirs, transforms)
    accepted = ~torch.stack(list(checks.values())).any(0)
    mask = accepted[:, None, None]
    identity = torch.eye(3, dtype=fixed.dtype, device=fixed.device)
    return Registration(
        torch.where(mask[..., None], images, moving),
        torch.where(mask, transforms, identity),
        coverage | ~mask[..., None],
        accepted,
        _first(checks),
    )


def warp(images: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Read each image where its transform sends each pixel: warped (N, C, H, W) and coverage (N, 1, H, W) bool.

    Bilinear; `transforms` (N, 3, 3) map pixels of the result to pixels of `images`. Beyond the outermost pixel centres
    the nearest border pixel is read; up to half a pixel, the area of that pixel, counts as covered.

    >>> shift = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> warp(torch.arange(3.0).expand(1, 1, 1, 3), shift)
    (tensor([[[[1., 2., 2.]]]]), tensor([[[[ True,  True, False]]]]))
    """
    height, width = images.shape[-2:]
    x, y = positions(transforms.to(images.dtype), (height, width))
    coverage = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return sample(images, x, y), coverage[:, None]


def corner_error(transforms: Tensor, true_transforms: Tensor, size: tuple[int, int]) -> Tensor:
    """Distance between where two transforms send a corner pixel of an image of `size` (H, W), mean of the four.

    Both (N, 3, 3) -> (N,) pixels.

    >>> shift = torch.tensor([[[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]]])
    >>> corner_error(shift, torch.eye(3)[None], (32, 32))
    tensor([5.])
    """
    return _corner_distances(transforms, true_transforms, size).mean(1)


def _corner_distances(transforms: Tensor, others: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    corners = transforms.new_tensor([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]).T
    ours, theirs = transforms @ corners, others.to(transforms) @ corners
    return (ours[:, :2] / ours[:, 2:] - theirs[:, :2] / theirs[:, 2:]).norm(dim=1)


def _check(moving: Tensor, fixed: Tensor, model: str) -> None:
    if moving.ndim != 4 or moving.shape != fixed.shape or not moving.numel():
        raise ValueError(f"moving and fixed must both be (N, C, H, W), not {(*moving.shape,)} and {(*fixed.shape,)}")
    if moving.dtype != fixed.dtype or moving.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"moving and fixed must both be float32 or float64, not {moving.dtype} and {fixed.dtype}")
    if model not in PARAMETERS:
        raise ValueError(f"unknown model {model!r}; valid: {', '.join(PARAMETERS)}")
    if min(moving.shape[-2:]) < LEAST_SIZE:
        raise ValueError(f"images to register must have {LEAST_SIZE} px or more, not {(*moving.shape[-2:],)}")


def _standardised(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) whose channels have mean 0 and deviation 1, or are 0 where constant; (N,) if all are."""
    centred = images - images.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
    flat = deviation <= FLAT * images.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(flat, 0.0, centred / deviation), flat.flatten(1).all(1)


def _distrust(moving: Tensor, fixed: Tensor, transforms: Tensor) -> Mapping[str, Tensor]:
    """For each reason to reject a transform that was found, (N,) whether it holds."""
    size = (fixed.shape[2], fixed.shape[3])
    images, coverage = warp(moving, transforms)
    weights = coverage.to(fixed.dtype)
    identity = torch.eye(3, dtype=fixed.dtype, device=fixed.device)[None]
    furthest = _corner_distances(transforms, identity, size).amax(1)
    # Blurred: a warp by half a pixel averages noise, and would gain by that alone.
    before, after = (_correlation(blur(each, 1.0), blur(fixed, 1.0), weights) for each in (moving, images))
    return {
        "overlap": weights.mean((1, 2, 3)) < LEAST_OVERLAP,
        "corner shift": ~(furthest <= FURTHEST_CORNER * max(size)),
        "photometric gain": ~(after >= before - ROUNDING),
        "unrelated": ~(_significance(images, fixed, weights) >= LEAST_SIGNIFICANCE),
    }


def _correlation(ours: Tensor, theirs: Tensor, weights: Tensor) -> Tensor:
    """(N,) correlations over the pixels of `weights` (N, 1, H, W), each channel about its own mean."""
    ours, theirs = _centred(ours, weights), _centred(theirs, weights)
    product, *powers = (each.sum((1, 2, 3)) for each in (ours * theirs, ours.square(), theirs.square()))
    return product / (powers[0] * powers[1]).sqrt().clamp_min(torch.finfo(ours.dtype).tiny)


def _centred(images: Tensor, weights: Tensor) -> Tensor:
    """Images (N, C, H, W) less their mean over the pixels of `weights` (N, 1, H, W), and 0 elsewhere."""
    mean = (weights * images).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp_min(1)
    return weights * (images - mean)


def _significance(ours: Tensor, theirs: Tensor, weights: Tensor) -> Tensor:
    """(N,) correlation of the details, over its root mean square at shifts from a tenth to a half of the image.

    It is 1 on average for images that have nothing to do with each other, whatever their spectra. Details, because the
    coarse structure of any two photographs can be brought to agree.
    """
    while min(ours.shape[-2:]) >= 128:  # enough pixels to tell, and half of the noise
        ours, theirs, weights = (F.avg_pool2d(each, 2) for each in (ours, theirs, weights))
    weights = (weights == 1).to(ours.dtype)
    height, width = ours.shape[-2:]
    padded = (2 * height, 2 * width)  # so that no shift wraps around
    spectra = [
        torch.fft.rfft2(_centred(blur(each, 0.5) - blur(each, 1.5), weights), s=padded) for each in (ours, theirs)
    ]
    surface = torch.fft.irfft2((spectra[0] * spectra[1].conj()).sum(1), s=padded)
    down, across = (
        torch.fft.fftfreq(2 * length, 0.5 / length, dtype=ours.dtype, device=ours.device) for length in (height, width)
    )
    down, across = down[:, None] / height, across / width  # the shifts, in images
    ring = (down.square() + across.square() > 0.1**2) & (down.abs() <= 0.5) & (across.abs() <= 0.5)
    chance = surface[:, ring].square().mean(1).sqrt()
    return surface[:, 0, 0] / chance.clamp_min(torch.finfo(ours.dtype).tiny)


def _first(checks: Mapping[str, Tensor]) -> tuple[str, ...]:
    """For each pair the first reason that holds, or ""."""
    columns = zip(*(failed.tolist() for failed in checks.values()), strict=True)
    return tuple(
        next((reason for reason, holds in zip(checks, column, strict=True) if holds), "") for column in columns
    )
