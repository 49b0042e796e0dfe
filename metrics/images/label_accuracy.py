"""How many of a batch's labels an attack recovered."""

import math
from collections import Counter

from torch import Tensor

from gradinv.metrics.images.scoring import ScoredBatch, register_metric


@register_metric(
    "label_accuracy",
    title="label accuracy",
    meaning="share of the batch's labels recovered, as a multiset",
    direction="higher",
    low=0.0,
    high=1.0,
    per="batch",
    board_column=70,
    always=True,
    panel=True,
)
def label_accuracy(batch: ScoredBatch) -> float:
    """Share of the batch's labels that the attack has, given, inferred or optimised; NaN where it claims none."""
    if batch.labels is None or batch.true_labels is None:
        return math.nan
    return shared_labels(batch.labels, batch.true_labels)


def shared_labels(predicted: Tensor, true: Tensor) -> float:
    """Share of the true labels that were predicted, in [0, 1]; order does not count, repeats do.

    Both (B,) integers. ValueError where the shapes are anything else or B is 0.

    >>> import torch
    >>> shared_labels(torch.tensor([3, 7, 7, 7]), torch.tensor([7, 3, 3, 7]))
    0.75
    """
    if predicted.shape != true.shape or true.ndim != 1 or not len(true):
        raise ValueError(f"predicted and true must both be (B,), not {tuple(predicted.shape)} and {tuple(true.shape)}")
    shared = Counter(predicted.tolist()) & Counter(true.tolist())  # of each label the smaller of its two counts
    return shared.total() / len(true)
