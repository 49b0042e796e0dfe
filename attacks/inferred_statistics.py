"""Batch-norm statistics without the private batch: solved from the client's buffers, or pooled over public images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.attacks.leak import Statistics
    from gradinv.attacks.victim import Victim

POOLED_TOGETHER = 64
"""Public images in one pass: 200 MB for a layer of a ResNet at 224 px."""


class StatisticsError(RequestError):
    """Batch-norm statistics that cannot be had; its text says why in one line."""


def inferred_statistics(victim: "Victim", buffers: Mapping[str, Tensor], shape: Sequence[int]) -> "Statistics":
    """(mean, biased variance) of every layer's input for the batch of `shape` (B, C, H, W) that changed the buffers.

    After one pass in train mode, running_after = (1 - m) running_before + m statistic, which is solved for the
    statistic (as in the code of Hatamizadeh et al. 2023, arXiv 2202.06924). PyTorch keeps the variance unbiased: times
    (n - 1) / n for n values a channel. m is the layer's momentum, or 1 / batches seen where that is None. The error
    is that of the buffers divided by m: about 1e-4, relative, in float32 at m = 0.1. StatisticsError where a buffer is
    missing, where not exactly one batch was seen, and where n is 1 or m is 0.
    """
    counts = _values_a_channel(victim, shape)
    named = [(name, part) for name, part in victim.module.named_modules() if isinstance(part, _BatchNorm)]
    if len(victim.running_statistics) != len(named):
        raise StatisticsError("a batch-norm layer keeps no running statistics, so that nothing of its batch is sent")
    rows = zip(named, victim.running_statistics, counts, strict=True)
    return tuple(_solved(name, layer, before, buffers, count) for (name, layer), before, count in rows)


def _solved(
    name: str, layer: _BatchNorm, before: tuple[Tensor, Tensor], buffers: Mapping[str, Tensor], count: int
) -> tuple[Tensor, Tensor]:
    """One layer's statistics, in the type of its buffers."""
    mean, variance = (_buffer(buffers, name, kind).to(before[0].device) for kind in ("running_mean", "running_var"))
    momentum = _momentum(name, layer, _buffer(buffers, name, "num_batches_tracked"))
    if count < 2:
        raise StatisticsError(f"{name} sees a single value a channel, of which there is no unbiased variance")
    # In double precision, so that the buffers' own rounding is all that is divided by a small momentum.
    solved = [
        (after.double() - (1 - momentum) * start.double()) / momentum
        for after, start in zip((mean, variance), before, strict=True)
    ]
    return solved[0].to(mean), (solved[1] * (count - 1) / count).to(variance)


def _buffer(buffers: Mapping[str, Tensor], layer: str, kind: str) -> Tensor:
    name = f"{layer}.{kind}" if layer else kind
    if name not in buffers:
        raise StatisticsError(f"the client has sent no buffer {name}")
    return buffers[name]


def _momentum(name: str, layer: _BatchNorm, seen_after: Tensor) -> float:
    """The share of the new batch in the running statistics, once it is certain that a single one was seen."""
    seen_before = layer.num_batches_tracked
    seen = int(seen_after) - (0 if seen_before is None else int(seen_before))
    if seen != 1:
        raise StatisticsError(f"{name} has seen {seen} batches since, and only those of a single one can be solved for")
    momentum = 1 / int(seen_after) if layer.momentum is None else layer.momentum
    if momentum == 0:
        raise StatisticsError(f"{name} has momentum 0, so that its running statistics never change")
    return momentum


def _values_a_channel(victim: "Victim", shape: Sequence[int]) -> list[int]:
    """Values that a batch of this shape has in a channel of every batch-norm layer's input."""
    counts: dict[int, int] = {}

    def counter(index: int):  # type: ignore[no-untyped-def]
        def hook(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
            counts[index] = inputs[0].numel() // inputs[0].shape[1]

        return hook

    handles = [layer.register_forward_pre_hook(counter(index)) for index, layer in enumerate(victim.bn_layers)]
    try:
        with torch.no_grad():
            # Of the batch's own size, and of any values: only shapes are counted.
            victim.module(victim.parameters[0].new_zeros(tuple(shape)))
    finally:
        for handle in handles:
            handle.remove()
    if len(counts) < len(victim.bn_layers):
        raise StatisticsError("a batch-norm layer sees nothing in a pass, so that nothing of it is sent")
    return [counts[index] for index in range(len(victim.bn_layers))]


def pooled_statistics(victim: "Victim", images: Tensor) -> "Statistics":
    """(mean, biased variance) of every layer's input over all images (n, C, H, W), normalised, in passes of up to 64.

    In eval mode those of all images taken as one batch; in train mode each pass is normalised by its own.
    """
    # Passes of one size as far as possible, and never a single image, which train mode could not take.
    parts = images.tensor_split(max(1, -(-len(images) // POOLED_TOGETHER)))
    passes = [victim.bn_statistics(part) for part in parts]
    shares = [len(part) / len(images) for part in parts]
    return tuple(_pooled(layer, shares) for layer in zip(*passes, strict=True))


def _pooled(passes: Sequence[tuple[Tensor, Tensor]], shares: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The statistics of the union: the mean of the variances plus the variance of the means."""
    weighted = list(zip(passes, shares, strict=True))
    mean = torch.stack([share * part for (part, _), share in weighted]).sum(0)
    within = torch.stack([share * variance for (_, variance), share in weighted]).sum(0)
    between = torch.stack([share * (part - mean).square() for (part, _), share in weighted]).sum(0)
    return mean, within + between
