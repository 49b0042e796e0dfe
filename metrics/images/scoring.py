"""The registry of image metrics, and the one call that scores a batch with several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradinv.metrics.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    Metric = Callable[[Tensor, Tensor], Tensor]

METRICS: Registry[Metric] = Registry(
    "metric", package="gradinv.metrics.images", decorator="register_metric", group="gradinv.metrics"
)
DEFAULT_METRICS = ("psnr", "ssim", "lpips_alex", "lpips_vgg", "gmsd", "fft2d")


class MetricUnavailable(RuntimeError):  # noqa: N818 - a state of this machine, not a fault of the caller
    """What a metric needs is not here; its text says in one line what is missing and how to supply it."""


@dataclass(frozen=True)
class Scores:
    """Per-image values (B,) of every metric that could be computed, and a line for each that could not."""

    values: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def register_metric(
    name: str,
    *,
    title: str,
    direction: Literal["higher", "lower"],
    low: float,
    high: float,
    unit: str = "",
    cap: float | None = None,
    min_size: int = 1,
    weights: str | None = None,
) -> Callable[[Metric], Metric]:
    """Decorator that registers a function `(reconstructions, originals) -> values` as the metric `name`.

    The function takes two float tensors (B, C, H, W) in [0, 1] and returns one value per image, (B,).
    `direction` says which values are better, [`low`, `high`] holds all values the metric can take, `cap` is what an
    infinite value counts in means, `min_size` is the smallest height or width in pixels it is defined for, `weights`
    names what must be on the machine. InvalidEntryError where another metric has this name.
    """
    return METRICS.register(
        name,
        title=title,
        direction=direction,
        low=low,
        high=high,
        unit=unit,
        cap=cap,
        min_size=min_size,
        weights=weights,
    )


def score_images(reconstructions: Tensor, originals: Tensor, metrics: Sequence[str] = DEFAULT_METRICS) -> Scores:
    """Score each reconstruction against the original of the same index, with every metric that applies.

    Both (B, C, H, W), C = 1 or 3, floats in [0, 1]. A metric that the images are too small for, or whose weights are
    missing, is left out and named in the notes. ValueError where the images are anything else, UnknownNameError where
    a metric is.

    >>> import torch
    >>> image = torch.rand(2, 3, 16, 16)
    >>> score_images(image, image, ["psnr"]).values
    {'psnr': tensor([inf, inf])}
    """
    _check_images("reconstructions", reconstructions)
    _check_images("originals", originals)
    if reconstructions.shape != originals.shape:
        raise ValueError(f"reconstructions are {tuple(reconstructions.shape)}, originals {tuple(originals.shape)}")
    size = min(originals.shape[-2:])
    values: dict[str, Tensor] = {}
    notes: list[str] = []
    for name in metrics:
        entry = METRICS.get(name)
        if size < entry.metadata["min_size"]:
            notes.append(f"{name}: defined from {entry.metadata['min_size']} px, the images have {size}")
            continue
        try:
            values[name] = entry.target(reconstructions, originals)
        except MetricUnavailable as error:
            notes.append(f"{name}: {error}")
    return Scores(values, tuple(notes))


def _check_images(argument: str, images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(f"{argument} must be (B, C, H, W) with C = 1 or 3, not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"{argument} must be floats in [0, 1], not {images.dtype}")
    low, high = (bound.item() for bound in images.aminmax())
    if not (low >= 0 and high <= 1):  # written so that NaN fails it
        raise ValueError(f"{argument} must lie in [0, 1], not in [{low:.6g}, {high:.6g}]")
