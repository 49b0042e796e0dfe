"""How many of a batch's labels an attack inferred."""

from collections import Counter

from torch import Tensor


def label_accuracy(predicted: Tensor, true: Tensor) -> float:
    """Share of the true labels that were inferred, in [0, 1]; order does not count, repeats do.

    Both (B,) integers. ValueError where the shapes are anything else or B is 0.

    >>> import torch
    >>> label_accuracy(torch.tensor([3, 7, 7, 7]), torch.tensor([7, 3, 3, 7]))
    0.75
    """
    if predicted.shape != true.shape or true.ndim != 1 or not len(true):
        raise ValueError(f"predicted and true must both be (B,), not {tuple(predicted.shape)} and {tuple(true.shape)}")
    shared = Counter(predicted.tolist()) & Counter(true.tolist())
    return shared.total() / len(true)
