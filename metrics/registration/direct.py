"""The similarity that aligns the intensities of two images: a pyramid of robust Gauss-Newton steps."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

COARSEST = 16  # pixels of the short side below which an image is not halved again
ITERATIONS = 20  # a level, at most
SETTLED = 2e-3  # pixels of the finest level: a step that moves no corner further is the last one
SETTLED_COARSE = 2e-2  # the same on a coarser level, which only has to come within reach of the next
LONGEST_STEP = 0.1  # of the image: over a longer way no image is linear
LOST = 0.6  # of half the image: a transform with an entry beyond it aligns nothing, and is not worth more steps
BLUR = 0.4  # pixels of a level: more costs accuracy at every noise up to 0.25, less costs convergence without noise
CAUCHY = 3.0  # residual, in root mean squares, at which a pixel has a half of its weight
DAMPING = 1e-3  # of the diagonal of the normal equations
CHUNK = 1 << 21  # numbers of the images worked on at once: a step needs some twenty times as many


def generators(like: Tensor) -> Tensor:
    """(4, 3, 3) directions in which a similarity can move: two shifts, rotation and scale."""
    return like.new_tensor(
        [
            [[0, 0, 1], [0, 0, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
            [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
            [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        ]
    )


def blur(images: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) convolved with a Gaussian of `sigma` pixels, mirrored at the border."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, kernel[:, :, None], groups=images.shape[1])
    return F.conv2d(rows, kernel[..., None], groups=images.shape[1])


def pixel_frame(size: tuple[int, int], like: Tensor, factor: int = 1) -> Tensor:
    """(3, 3) map of the pixels of the level halved to 1/`factor`, to the frame that all levels share.

    Its origin is the centre of the image of `size` (H, W), its unit half of the longer side: what is solved for is
    then of order one at every size.
    """
    height, width = size
    unit = max(size) / 2
    first = (factor - 1) / 2
    return like.new_tensor(
        [
            [factor / unit, 0.0, (first - (width - 1) / 2) / unit],
            [0.0, factor / unit, (first - (height - 1) / 2) / unit],
            [0.0, 0.0, 1.0],
        ]
    )


def positions(transforms: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where affine transforms (N, 3, 3) send each pixel of an (H, W) grid: x and y, each (N, H, W)."""
    x, y = (transforms @ pixel_grid(size, transforms).flatten(1)).unflatten(2, size)[:, :2].unbind(1)
    return x, y


def pixel_grid(size: tuple[int, int], like: Tensor) -> Tensor:
    """(3, H, W): x, y and 1 of each pixel."""
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(height, dtype=like.dtype, device=like.device),
        torch.arange(width, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack([x, y, torch.ones_like(x)])


def sample(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, C, H, W) images read at pixel positions x and y, each (N, h, w); outside, the nearest border pixel counts."""
    height, width = images.shape[-2:]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    # Where a pair has nothing left in common the step is NaN, which grid_sample does not take on every device; any
    # position beyond the image will do, for it is not covered and the pair is rejected.
    grid = grid.nan_to_num(3.0).clamp(-3, 3)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: the two images, the gradient of the fixed one, and how pixels relate to the frame."""

    moving: Tensor  # (N, C, h, w)
    fixed: Tensor  # (N, C, h, w)
    gradient: Tensor  # (N, C, 2, h, w): of `fixed`, along x and y of the frame
    velocity: Tensor  # (2, 4, h, w): how fast each parameter moves a pixel along x and y of the frame
    frame: Tensor  # (3, 3): pixels of this level -> frame

    def pick(self, pairs: Tensor) -> "Level":
        """The same level, of some pairs only."""
        return replace(self, moving=self.moving[pairs], fixed=self.fixed[pairs], gradient=self.gradient[pairs])

    def pixels(self, transforms: Tensor) -> Tensor:
        """(N, 3, 3) transforms of the frame, as transforms of this level's pixels."""
        return torch.linalg.inv(self.frame) @ transforms @ self.frame


def make_level(moving: Tensor, fixed: Tensor, factor: int, size: tuple[int, int]) -> Level:
    """The level of images already halved to 1/`factor` of `size`, blurred against the noise."""
    moving, fixed = blur(moving, BLUR), blur(fixed, BLUR)
    frame = pixel_frame(size, fixed, factor)
    down, across = torch.gradient(fixed, dim=(2, 3))
    x, y = positions(frame[None], (fixed.shape[2], fixed.shape[3]))
    velocity = torch.einsum("pij,jhw->iphw", generators(fixed), torch.cat([x, y, torch.ones_like(x)]))[:2]
    return Level(moving, fixed, torch.stack([across, down], 2) / frame[0, 0], velocity, frame)


def best_similarities(moving: Tensor, fixed: Tensor) -> Tensor:
    """Transforms (N, 3, 3), pixels of `fixed` -> pixels of `moving`, that align the intensities best.

    Both (N, C, H, W), finite. Starts at the identity and goes from coarse to fine, over as many levels as leave the
    short side 16 pixels. Inverse compositional Gauss-Newton steps (Baker and Matthews 2004, "Lucas-Kanade 20 years
    on", Sec. 3.2) with Cauchy weights; gain and bias of each channel are solved for together with the transform.
    """
    pairs = max(1, CHUNK // fixed[0].numel())
    chunks = zip(moving.split(pairs), fixed.split(pairs), strict=True)
    return torch.cat([_from_coarse_to_fine(*chunk) for chunk in chunks])


def _from_coarse_to_fine(moving: Tensor, fixed: Tensor) -> Tensor:
    size = (fixed.shape[2], fixed.shape[3])
    pyramid = [(moving, fixed)]
    for _ in range(int(math.log2(min(size) / COARSEST))):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    frame = pixel_frame(size, fixed)
    transforms = (frame @ torch.linalg.inv(frame)).repeat(len(fixed), 1, 1)
    for depth in reversed(range(len(pyramid))):
        level = make_level(*pyramid[depth], 2**depth, size)
        transforms = descend_level(level, transforms, SETTLED_COARSE if depth else SETTLED)
    return torch.linalg.inv(frame) @ transforms @ frame


def descend_level(level: Level, transforms: Tensor, settled: float) -> Tensor:
    """The transforms (N, 3, 3) of the frame after steps on one level; a pair stops after a step below `settled` px."""
    directions = generators(level.fixed)
    identity = torch.eye(3, dtype=transforms.dtype, device=transforms.device)
    height, width = level.fixed.shape[-2:]
    corners = level.velocity[:, :, :: height - 1, :: width - 1]
    transforms = transforms.clone()
    active = torch.arange(len(transforms), device=transforms.device)
    for _ in range(ITERATIONS):
        steps = step(level.pick(active), transforms[active])
        reach = torch.einsum("np,iphw->nihw", steps, corners).square().sum(1).amax((1, 2)).sqrt()
        steps = steps * (2 * LONGEST_STEP / reach.clamp_min(2 * LONGEST_STEP))[:, None]  # the image is 2 units wide
        # Inverse compositional: the step was solved for as a warp of the fixed image, so its inverse moves the other.
        transforms[active] = transforms[active] @ torch.linalg.matrix_exp(
            -torch.einsum("np,pij->nij", steps, directions)
        )
        furthest = (transforms[active] - identity).abs().amax((1, 2))
        active = active[(reach > settled * level.frame[0, 0]) & (furthest < LOST)]
        if not len(active):
            break
    return transforms


def step(level: Level, transforms: Tensor) -> Tensor:
    """Parameters (N, 4) of the Gauss-Newton step: moving(T x) = gain fixed(exp(step) x) + bias in each channel."""
    x, y = positions(level.pixels(transforms), (level.fixed.shape[2], level.fixed.shape[3]))
    warped = sample(level.moving, x, y)
    inside = within(x, y)
    _, residual, _ = photometric(warped, level.fixed, inside)
    weights = cauchy(residual, inside)
    gain, residual, centred = photometric(warped, level.fixed, weights)
    slope = gain[..., None] * level.gradient  # (N, C, 2, h, w)
    weighted = weights[:, None, None] * slope
    velocity = level.velocity.flatten(2).permute(0, 2, 1).flatten(0, 1)  # (2hw, 4)
    right = (weighted * residual[:, :, None]).sum(1).flatten(1) @ velocity
    normal = hessian(weighted, slope, level.velocity.flatten(2))
    # The Schur complement: what a change of gain or bias could explain as well does not count for the transform.
    with_bias = weighted.flatten(2) @ velocity  # (N, C, 4)
    with_gain = (weighted * centred[:, :, None]).flatten(2) @ velocity
    tiny = torch.finfo(slope.dtype).tiny
    total = weights.sum((1, 2)).clamp_min(tiny)[:, None, None]
    power = (weights[:, None] * centred.square()).sum((2, 3)).clamp_min(tiny)[..., None]
    normal = normal - with_bias.mT @ (with_bias / total) - with_gain.mT @ (with_gain / power)
    return solve_damped(normal, right)


def hessian(weighted: Tensor, slope: Tensor, velocity: Tensor) -> Tensor:
    """(N, P, P): the structure tensor weighted x slope, each (N, C, 2, h, w), seen through the parameters."""
    count = velocity.shape[1]
    blocks = []
    for i, j in ((0, 0), (0, 1), (1, 1)):
        tensor = (weighted[:, :, i] * slope[:, :, j]).sum(1).flatten(1)
        # As a matrix product over the pixels: what broadcasts as (N, P, P, h, w) would not fit into memory.
        products = (velocity[i, :, None] * velocity[j]).flatten(0, 1).T  # (hw, P * P)
        blocks.append((tensor @ products).unflatten(1, (count, count)))
    xx, xy, yy = blocks
    return xx + xy + xy.mT + yy


def solve_damped(normal: Tensor, right: Tensor) -> Tensor:
    """(N, P) solutions of (N, P, P) systems, damped so that what the image does not determine stays put."""
    diagonal = normal.diagonal(dim1=1, dim2=2)
    least = diagonal.amax(1, keepdim=True).clamp_min(torch.finfo(normal.dtype).tiny) * DAMPING
    return torch.linalg.solve(normal + torch.diag_embed(DAMPING * diagonal.clamp_min(0) + least), right)


def within(x: Tensor, y: Tensor) -> Tensor:
    """(N, h, w) 1 where both images have a neighbourhood: the outermost pixels hold what the blur mirrored."""
    height, width = x.shape[1:]
    inside = (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
    inside[:, [0, -1]] = False
    inside[:, :, [0, -1]] = False
    return inside.to(x.dtype)


def photometric(warped: Tensor, fixed: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain (N, C, 1, 1), residual and centred fixed image (N, C, h, w) of the weighted fit warped = gain fixed + bias.

    A gain below 0 is taken as 0: an inverted image is no match.
    """
    share = (weights / weights.sum((1, 2), keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny))[:, None]
    centred_warped = warped - (share * warped).sum((2, 3), keepdim=True)
    centred = fixed - (share * fixed).sum((2, 3), keepdim=True)
    power = (share * centred.square()).sum((2, 3), keepdim=True)
    gain = (share * centred_warped * centred).sum((2, 3), keepdim=True) / power.clamp_min(torch.finfo(fixed.dtype).tiny)
    gain = gain.clamp_min(0.0)
    return gain, centred_warped - gain * centred, centred


def cauchy(residual: Tensor, inside: Tensor) -> Tensor:
    """(N, h, w) weights in [0, 1]: a pixel whose channels fit worse than most counts less.

    The scale is the root mean square, not the median: where most of a picture is smooth, the median is that of pixels
    which fit anyhow, and those that could pull the transform would lose their weight.
    """
    squared = residual.square().mean(1)
    typical = (squared * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)
    scale = CAUCHY**2 * typical.clamp_min(torch.finfo(squared.dtype).tiny)
    return inside / (1 + squared / scale[:, None, None])
