"""From an estimate of how often each class occurs to whole counts: one way of rounding for all rules."""

import torch
from torch import Tensor


class LabelInferenceError(ValueError):
    """A batch whose labels a rule cannot find; its text says why."""


def largest_remainders(estimate: Tensor, total: int) -> Tensor:
    """Counts (C,) that sum to `total`: the estimate (C,), clipped at 0, scaled to it, and rounded.

    Every class has the whole part of its share, and the rest goes to the largest remainders (Hamilton's method); of
    equal ones to the lower class. Counts that sum to `total` already come back unchanged. LabelInferenceError for an
    estimate that is not finite or nowhere positive: no label is ever made up.

    >>> largest_remainders(torch.tensor([1.2, -0.3, 2.3, 0.5]), 4).tolist()
    [1, 0, 2, 1]
    """
    positive = estimate.detach().double().cpu().clamp_min(0)
    if not bool(torch.isfinite(positive).all()) or not bool(positive.sum() > 0):
        raise LabelInferenceError("the estimated counts are not finite, or none of them is above zero")
    shares = positive / positive.sum() * total
    # A share that is whole but for rounding in its last digits is whole: floor would take one off it.
    whole = (shares + 1e-9 * max(1, total)).floor()
    counts = whole.to(torch.int64)
    # Stable, so that of equal remainders the same ones are taken everywhere.
    order = (shares - whole).argsort(descending=True, stable=True)
    counts[order[: total - int(counts.sum())]] += 1
    return counts
