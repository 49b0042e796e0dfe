"""Registration by keypoints: SIFT matches, RANSAC with a seed of its own, then the finest levels of the direct method.

The analogue of the RANSAC-Flow that GradInversion uses (Shen et al. 2020, arXiv 2004.01526), without its network.
"""

from functools import cache

import torch
from kornia.feature import SIFTFeature, get_laf_center, match_smnn
from torch import Tensor

from metrics.registration_direct import blur, pixel_frame, register_direct

KEYPOINTS = 512  # an image, at most
LEAST_RATIO = 0.9  # of the distances to the nearest and the second nearest descriptor
HYPOTHESES = 1024
TOLERANCE = 0.01  # of the longer side: a match that is further off is no inlier
LEAST_INLIERS = 10
SEED = 0
MINIMAL = {"translation": 1, "similarity": 2, "affine": 3, "homography": 4}


def register_features(moving: Tensor, fixed: Tensor, model: str) -> tuple[Tensor, Tensor]:
    """Transforms (N, 3, 3), pixels of `fixed` -> pixels of `moving`, and (N,) whether enough keypoints agree on them.

    Both (N, C, H, W), finite, from 160 pixels on. Where too few agree, the transform is the identity.
    """
    frame = pixel_frame((fixed.shape[2], fixed.shape[3]), fixed)
    starts, enough = [], []
    for ours, theirs in zip(_grey(moving), _grey(fixed), strict=True):
        here, there = match_keypoints(theirs[None], ours[None], frame)
        start, inliers = ransac(here, there, model)
        starts.append(torch.linalg.inv(frame) @ start @ frame)
        enough.append(inliers >= LEAST_INLIERS)
    agreed = torch.tensor(enough, device=fixed.device)
    identity = torch.eye(3, dtype=fixed.dtype, device=fixed.device)
    start = torch.where(agreed[:, None, None], torch.stack(starts), identity)
    refined = register_direct(moving, fixed, model, start, levels=2)
    return torch.where(agreed[:, None, None], refined, identity), agreed


def _grey(images: Tensor) -> Tensor:
    """(N, 1, H, W) mean of the channels, in [0, 1] whatever the unit was, smoothed against noise."""
    grey = blur(images.mean(1, keepdim=True), 1.0)
    low, high = grey.amin((2, 3), keepdim=True), grey.amax((2, 3), keepdim=True)
    return (grey - low) / (high - low).clamp_min(torch.finfo(grey.dtype).tiny)


@cache
def _sift(device: torch.device, dtype: torch.dtype) -> SIFTFeature:
    return SIFTFeature(num_features=KEYPOINTS, device=device).to(device, dtype).eval()


def match_keypoints(fixed: Tensor, moving: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Points (K, 2) of two grey images (1, 1, H, W) whose descriptors match, in coordinates of the frame (3, 3)."""
    points, descriptors = [], []
    for image in (fixed, moving):
        regions, _, description = _sift(image.device, image.dtype)(image)
        points.append(get_laf_center(regions)[0] * frame.diagonal()[:2] + frame[:2, 2])
        descriptors.append(description[0])
    if min(len(each) for each in descriptors) < 2:
        return points[0][:0], points[1][:0]
    _, matches = match_smnn(descriptors[0], descriptors[1], LEAST_RATIO)
    return points[0][matches[:, 0]], points[1][matches[:, 1]]


def ransac(here: Tensor, there: Tensor, model: str) -> tuple[Tensor, int]:
    """The transform (3, 3) here -> there that most of the matched points, (K, 2) each, agree on, and how many do.

    The draws come from a generator of its own with a fixed seed (Fischler and Bolles 1981). Identity and 0 for fewer
    matches than the model needs.
    """
    identity = torch.eye(3, dtype=here.dtype, device=here.device)
    if len(here) < MINIMAL[model]:
        return identity, 0
    generator = torch.Generator().manual_seed(SEED)
    order = torch.rand(HYPOTHESES, len(here), generator=generator).argsort(1)
    drawn = order[:, : MINIMAL[model]].to(here.device)
    candidates = fit(here[drawn], there[drawn], torch.ones_like(drawn, dtype=here.dtype), model)
    distances = _distances(candidates, here, there)
    tolerance = 2 * TOLERANCE  # the frame's unit is half of the longer side
    best = (distances <= tolerance).sum(1).argmax()
    transform, inliers = candidates[best], distances[best] <= tolerance
    for _ in range(5):
        transform = fit(here[None], there[None], inliers[None].to(here.dtype), model)[0]
        inliers = _distances(transform[None], here, there)[0] <= tolerance
    return transform, int(inliers.sum())


def _distances(transforms: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """(N, K) distances of the transformed points from their matches; infinite behind the camera."""
    across, down, depth = (here @ transforms[:, :, :2].mT + transforms[:, None, :, 2]).unbind(2)
    offset = torch.stack([across / depth, down / depth], 2) - there
    return torch.where(depth > 0, offset.norm(dim=2), torch.inf).nan_to_num(torch.inf)


def fit(here: Tensor, there: Tensor, weights: Tensor, model: str) -> Tensor:
    """(N, 3, 3) transforms that send points (N, K, 2) to their matches with the least weighted squared error.

    The last entry is 1. A perspective is solved for in its linear form, whose errors are those of the homogeneous
    coordinates (Hartley and Zisserman 2004, "Multiple View Geometry", Sec. 4.1.2).
    """
    x, y = here.unbind(2)
    u, v = there.unbind(2)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = torch.stack(
        [
            torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 2),
            torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 2),
        ],
        1,
    ).flatten(1, 2)
    base, directions = _subspace(model, here)
    design = rows @ directions
    error = torch.cat([u, v], 1) - rows @ base
    weighted = design * weights.repeat(1, 2)[..., None]
    normal = weighted.mT @ design
    # A degenerate draw, such as two equal points, must not end the search.
    normal = normal + torch.finfo(here.dtype).eps * torch.eye(normal.shape[1], dtype=here.dtype, device=here.device)
    solution = torch.linalg.solve_ex(normal, (weighted.mT @ error[..., None])[..., 0])[0]
    entries = base + solution @ directions.T
    return torch.cat([entries, torch.ones_like(entries[:, :1])], 1).unflatten(1, (3, 3))


def _subspace(model: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """The first eight entries of a transform: where they start, (8,), and what moves them, (8, parameters)."""
    base = like.new_tensor([1, 0, 0, 0, 1, 0, 0, 0])
    every = torch.eye(8, dtype=like.dtype, device=like.device)
    turn, scale = every[3] - every[1], every[0] + every[4]
    directions = {
        "translation": [every[2], every[5]],
        "similarity": [every[2], every[5], turn, scale],
        "affine": list(every[:6]),
        "homography": list(every),
    }
    return base, torch.stack(directions[model], 1)
