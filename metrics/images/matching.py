"""The one matching of reconstructions to originals that every metric uses."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gradinv.metrics.images.identity import directions, lowpass_features


def match(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Match reconstructions to originals one to one, so that the sum of their costs is smallest.

    The cost of a pair is 1 - the correlation of both at 16 x 16 pixels + their mean squared error: noise, contrast and
    colour casts, which differ from one reconstruction to the next, do not decide it. Both (B, C, H, W) -> int64 (B,) on
    the same device: `assignment[slot]` is the index of the reconstruction matched to the original in `slot`, so
    `reconstructions[assignment]` stands beside `originals`. A reconstruction with a value that is not finite is the
    worst for every original. The originals are needed, so this is the evaluator's oracle. ValueError where the shapes
    differ (Kuhn 1955, "The Hungarian method for the assignment problem").

    >>> originals = torch.rand(3, 1, 4, 4)
    >>> match(originals[[2, 0, 1]], originals)
    tensor([1, 2, 0])
    """
    if reconstructions.shape != originals.shape or originals.ndim != 4:
        raise ValueError(
            f"reconstructions and originals must both be (B, C, H, W), not {tuple(reconstructions.shape)} and "
            f"{tuple(originals.shape)}"
        )
    # One reconstruction at a time: all pairs at once would need B x B x C x H x W values.
    errors = torch.stack([(originals - image).square().flatten(1).mean(1) for image in reconstructions], 1)
    seen, known = (directions(lowpass_features(images).flatten(1)) for images in (reconstructions, originals))
    # The error beside the correlation: it tells copies of different brightness apart, and images without content.
    cost = (1 - known @ seen.T + errors.double()).cpu().numpy()
    # scipy refuses infinite costs; one above all others keeps such a reconstruction last for every original.
    finite = cost[np.isfinite(cost)]
    cost[~np.isfinite(cost)] = 1 + 2 * finite.max(initial=0.0)
    _, assignment = linear_sum_assignment(cost)
    return torch.as_tensor(assignment, dtype=torch.int64, device=originals.device)


def slot_accuracy(assignment: Tensor) -> float:
    """Share of reconstructions that were already in the slot of their original, in [0, 1].

    `assignment` (B,) as `match` returns it.

    >>> slot_accuracy(torch.tensor([0, 2, 1, 3]))
    0.5
    """
    in_place = assignment == torch.arange(len(assignment), device=assignment.device)
    return in_place.double().mean().item()
