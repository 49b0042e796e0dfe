"""Aligning images to images: a similarity for each pair, and the identity where none can be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradinv.metrics.registration.direct import best_similarities, blur, positions, sample

LEAST_SIZE = 16  # pixels of the short side
LEAST_OVERLAP = 0.6  # share of the fixed image that the warped one covers
FURTHEST_CORNER = 0.2  # of the longer side
LEAST_SIGNIFICANCE = 4.0  # standard deviations; unrelated photographs stay below 3, related ones at noise 0.25 above 5
FLAT = 1e-5  # standard deviation, over the largest value, that rounding alone can give
ROUNDING = 1e-4  # of a correlation: images that were aligned already do not correlate better after their warp


@dataclass(frozen=True)
class Alignment:
    """How each of N moving images lies on its fixed image."""

    images: Tensor  # (N, C, H, W): moving warped onto fixed; a rejected one is returned unchanged
    transforms: Tensor  # (N, 3, 3): pixels of fixed -> pixels of moving; the identity where rejected
    coverage: Tensor  # (N, 1, H, W) bool: where the warped image has data; all True where rejected
    accepted: Tensor  # (N,) bool
    reasons: tuple[str, ...]  # "" where accepted, else why rejected


@torch.no_grad()
def align(moving: Tensor, fixed: Tensor) -> Alignment:
    """Align each moving image to the fixed image of the same index by a shift, a rotation and a scale.

    Both (N, C, H, W), float32 or float64 of any unit: gain and bias of each channel are ignored. Pixels stand at
    integers, (0, 0) is the centre of the first. Intensities are aligned, from 16 pixels on, by warps
    that move no corner by more than about 15 % of the size. A pair is rejected, for the first of these `reasons` that
    holds, as "not finite", "no texture" (an image is constant), "overlap" (below 60 %), "corner shift" (above 20 % of
    the size), "photometric gain" (the images would correlate less than as they are) or "unrelated" (they correlate
    no better than at random shifts). Deterministic. ValueError for other shapes, types and sizes.

    >>> coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> image = F.interpolate(coarse, scale_factor=4, mode="bilinear")
    >>> align(image.roll(2, 3), image).transforms[0, :2, 2].round().int()
    tensor([2, 0], dtype=torch.int32)
    """
    _check(moving, fixed)
    finite = (moving.isfinite() & fixed.isfinite()).flatten(1).all(1)
    usable = finite[:, None, None, None]
    # Standardised, so that no channel counts more for its unit.
    source, source_is_flat = _standardised(torch.where(usable, moving, 0.0))
    target, target_is_flat = _standardised(torch.where(usable, fixed, 0.0))
    transforms = best_similarities(source, target)
    failures = {"not finite": ~finite, "no texture": source_is_flat | target_is_flat}
    failures |= _distrust(source, target, transforms)
    accepted = ~torch.stack(list(failures.values())).any(0)
    images, coverage = warp(moving, transforms)
    mask = accepted[:, None, None]
    identity = torch.eye(3, dtype=fixed.dtype, device=fixed.device)
    return Alignment(
        torch.where(mask[..., None], images, moving),
        torch.where(mask, transforms, identity),
        coverage | ~mask[..., None],
        accepted,
        _first_reasons(failures),
    )


def warp(images: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Read each image where its transform sends each pixel: warped (N, C, H, W) and coverage (N, 1, H, W) bool.

    Bilinear; `transforms` (N, 3, 3), affine, map pixels of the result to pixels of `images`. Beyond the outermost pixel
    centres the nearest border pixel is read; up to half a pixel, the area of that pixel, counts as covered.

    >>> shift = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> warp(torch.arange(3.0).expand(1, 1, 1, 3), shift)
    (tensor([[[[1., 2., 2.]]]]), tensor([[[[ True,  True, False]]]]))
    """
    height, width = images.shape[-2:]
    x, y = positions(transforms.to(images.dtype), (height, width))
    coverage = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return sample(images, x, y), coverage[:, None]


def corner_distances(transforms: Tensor, reference: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 4) pixels between where two affine transforms (N, 3, 3) send each corner of an image of `size` (H, W).

    >>> shift = torch.tensor([[[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]]])
    >>> corner_distances(shift, torch.eye(3)[None], (32, 32))
    tensor([[5., 5., 5., 5.]])
    """
    height, width = size
    corners = transforms.new_tensor([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]).T
    return (transforms @ corners - reference.to(transforms) @ corners)[:, :2].norm(dim=1)


def _check(moving: Tensor, fixed: Tensor) -> None:
    if moving.ndim != 4 or moving.shape != fixed.shape or not moving.numel():
        raise ValueError(f"moving and fixed must both be (N, C, H, W), not {(*moving.shape,)} and {(*fixed.shape,)}")
    if moving.dtype != fixed.dtype or moving.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"moving and fixed must both be float32 or float64, not {moving.dtype} and {fixed.dtype}")
    if min(moving.shape[-2:]) < LEAST_SIZE:
        raise ValueError(f"images to align must have {LEAST_SIZE} px or more, not {(*moving.shape[-2:],)}")


def _standardised(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) whose channels have mean 0 and deviation 1, or are 0 where constant; (N,) if all are."""
    centred = images - images.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
    flat = deviation <= FLAT * images.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(flat, 0.0, centred / deviation), flat.flatten(1).all(1)


def _distrust(moving: Tensor, fixed: Tensor, transforms: Tensor) -> Mapping[str, Tensor]:
    """For each reason to reject a transform, (N,) whether it holds."""
    size = (fixed.shape[2], fixed.shape[3])
    aligned, coverage = warp(moving, transforms)
    weights = coverage.to(fixed.dtype)
    identity = torch.eye(3, dtype=fixed.dtype, device=fixed.device)[None]
    furthest = corner_distances(transforms, identity, size).amax(1)
    # Blurred: a warp by half a pixel averages noise, and would gain by that alone.
    before, after = (_correlation(blur(images, 1.0), blur(fixed, 1.0), weights) for images in (moving, aligned))
    # Negated comparisons, so that a NaN is a reason to reject.
    return {
        "overlap": weights.mean((1, 2, 3)) < LEAST_OVERLAP,
        "corner shift": ~(furthest <= FURTHEST_CORNER * max(size)),
        "photometric gain": ~(after >= before - ROUNDING),
        "unrelated": ~(_significance(aligned, fixed, weights) >= LEAST_SIGNIFICANCE),
    }


def _correlation(images: Tensor, fixed: Tensor, weights: Tensor) -> Tensor:
    """(N,) correlations over the pixels of `weights` (N, 1, H, W), each channel about its own mean."""
    images, fixed = _centred(images, weights), _centred(fixed, weights)
    product, *powers = (values.sum((1, 2, 3)) for values in (images * fixed, images.square(), fixed.square()))
    return product / (powers[0] * powers[1]).sqrt().clamp_min(torch.finfo(images.dtype).tiny)


def _centred(images: Tensor, weights: Tensor) -> Tensor:
    """Images (N, C, H, W) less their mean over the pixels of `weights` (N, 1, H, W), and 0 elsewhere."""
    mean = (weights * images).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp_min(1)
    return weights * (images - mean)


def _significance(images: Tensor, fixed: Tensor, weights: Tensor) -> Tensor:
    """(N,) correlation of the details, over its root mean square at shifts from a tenth to a half of the image.

    It is 1 on average for images that have nothing to do with each other, whatever their spectra. Details, because the
    coarse structure of any two photographs can be brought to agree.
    """
    while min(images.shape[-2:]) >= 128:  # enough pixels to tell, and half of the noise
        images, fixed, weights = (F.avg_pool2d(values, 2) for values in (images, fixed, weights))
    weights = (weights == 1).to(images.dtype)  # a pooled pixel counts only where all it was made of is covered
    surface = _correlation_surface(_details(images, weights), _details(fixed, weights))
    chance = surface[:, _ring(images)].square().mean(1).sqrt()
    return surface[:, 0, 0] / chance.clamp_min(torch.finfo(images.dtype).tiny)


def _details(images: Tensor, weights: Tensor) -> Tensor:
    """Images (N, C, H, W) without their coarse structure, and 0 where `weights` is."""
    return _centred(blur(images, 0.5) - blur(images, 1.5), weights)


def _correlation_surface(images: Tensor, fixed: Tensor) -> Tensor:
    """(N, 2H, 2W) sums over pixels and channels of their products, at every shift of the one against the other."""
    height, width = images.shape[-2:]
    padded = (2 * height, 2 * width)  # so that no shift wraps around
    spectra = torch.fft.rfft2(images, s=padded) * torch.fft.rfft2(fixed, s=padded).conj()
    return torch.fft.irfft2(spectra.sum(1), s=padded)


def _ring(images: Tensor) -> Tensor:
    """(2H, 2W) bool: the entries of a correlation surface at shifts from a tenth to a half of the image."""
    # fftfreq orders the shifts as the surface does; its unit is chosen so that it counts in image heights and widths.
    down, across = (
        torch.fft.fftfreq(2 * length, 0.5 / length, dtype=images.dtype, device=images.device) / length
        for length in images.shape[-2:]
    )
    down = down[:, None]
    return (down.square() + across.square() > 0.1**2) & (down.abs() <= 0.5) & (across.abs() <= 0.5)


def _first_reasons(failures: Mapping[str, Tensor]) -> tuple[str, ...]:
    """For each pair the first reason that holds, or ""."""
    pairs = zip(*(failed.tolist() for failed in failures.values()), strict=True)
    return tuple(next((reason for reason, holds in zip(failures, pair, strict=True) if holds), "") for pair in pairs)
