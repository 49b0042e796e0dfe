"""The registry of metrics, and the one call that scores a batch with several of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gradinv.metrics.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from gradinv.metrics.images.identity import Pool

    ImageMetric = Callable[[Tensor, Tensor], Tensor]
    PoolMetric = Callable[["ScoredBatch"], Tensor]
    BatchMetric = Callable[["ScoredBatch"], float]

Metric = TypeVar("Metric", bound="ImageMetric | PoolMetric | BatchMetric")

# Targets are of two types, told apart by the fact `per`; so their type is given where they are called.
METRICS: Registry[Any] = Registry(
    "metric", package="gradinv.metrics.images", decorator="register_metric", group="gradinv.metrics"
)


class MetricUnavailable(RuntimeError):  # noqa: N818 - a state of this machine, not a fault of the caller
    """What a metric needs is not here; its text says in one line what is missing and how to supply it."""


@dataclass(frozen=True)
class ScoredBatch:
    """A private batch and what was made of it: all that a metric may look at.

    `reconstructions` and `originals` are both (B, C, H, W), C = 1 or 3, floats in [0, 1], each reconstruction in the
    slot of the original that it was matched to. `labels` (B,) are the attack's, in no order that counts, None where it
    claims none; `true_labels` (B,) are the originals', None where nobody knows them. `pool` holds the photographs that
    an original is looked for among, `rivals` (B, M) says which of them each original is compared with. ValueError for
    other images.
    """

    reconstructions: Tensor
    originals: Tensor
    labels: Tensor | None = None
    true_labels: Tensor | None = None
    pool: Pool | None = None
    rivals: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the images once, so that no metric needs to."""
        _check_images("reconstructions", self.reconstructions)
        _check_images("originals", self.originals)
        if self.reconstructions.shape != self.originals.shape:
            raise ValueError(
                f"reconstructions are {tuple(self.reconstructions.shape)}, originals {tuple(self.originals.shape)}"
            )


@dataclass(frozen=True)
class Scores:
    """The values of every metric that could be computed, and a line for each that could not.

    `values` holds one value per image, (B,); `batch_values` one per batch.
    """

    values: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    batch_values: dict[str, float] = field(default_factory=dict)


def register_metric(
    name: str,
    *,
    title: str,
    direction: Literal["higher", "lower"],
    meaning: str = "",
    unit: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    cap: float = math.inf,
    min_size: int = 1,
    weights: str | None = None,
    per: Literal["image", "batch"] = "image",
    board_column: int | None = None,
    panel: bool = False,
    always: bool = False,
    needs_pool: bool = False,
) -> Callable[[Metric], Metric]:
    """Decorator that registers a function as the metric `name`, with every fact that tables and figures need.

    Per image, the function is `(reconstructions, originals) -> values`: two float tensors (B, C, H, W) in [0, 1] to one
    value per image, (B,); with `needs_pool` it is `(ScoredBatch) -> values`. Per batch, it is `(ScoredBatch) -> value`:
    a float, NaN where this batch has none.

    `title` is the metric's name in tables and figures, `meaning` one line about a column of it, `direction` which
    values are better. [`low`, `high`] holds all values the metric can take; what exceeds `cap`, infinity included,
    counts as it in means. `min_size` is the smallest height or width in pixels it is defined for, `weights` names what
    must be on the machine. With a `board_column` suites ask for the metric unless they name others, and it has its
    columns on every board, in the order of these numbers; without one it is measured on request. With `always` it is
    measured in every trial, whatever the suite asks for, and is no part of a specification. `panel`: the figure of
    quality shows it where it was measured. InvalidEntryError where another metric has this name.

    In this package write facts as constants: they are read without importing the metric.
    """
    return METRICS.register(
        name,
        title=title,
        direction=direction,
        meaning=meaning,
        unit=unit,
        low=low,
        high=high,
        cap=cap,
        min_size=min_size,
        weights=weights,
        per=per,
        board_column=board_column,
        panel=panel,
        always=always,
        needs_pool=needs_pool,
    )


def score_batch(batch: ScoredBatch, metrics: Sequence[str]) -> Scores:
    """Score a batch with every metric that applies.

    A metric that the images are too small for, or whose weights are missing, is left out and named in the notes; one
    per batch that has no value for this batch is left out without a word. UnknownNameError where a metric is unknown.

    >>> import torch
    >>> image, labels = torch.rand(2, 3, 16, 16), torch.tensor([3, 7])
    >>> scores = score_batch(ScoredBatch(image, image, labels, labels), ["psnr", "label_accuracy"])
    >>> scores.values, scores.batch_values
    ({'psnr': tensor([inf, inf])}, {'label_accuracy': 1.0})
    """
    size = min(batch.originals.shape[-2:])
    values: dict[str, Tensor] = {}
    batch_values: dict[str, float] = {}
    notes: list[str] = []
    for name in metrics:
        entry = METRICS.get(name)
        # A note and no number: an image resized to fit would be another image.
        if size < entry.metadata["min_size"]:
            notes.append(f"{name}: defined from {entry.metadata['min_size']} px, the images have {size}")
            continue
        try:
            if entry.metadata["per"] == "batch":
                batch_values[name] = entry.target(batch)
            elif entry.metadata["needs_pool"]:
                values[name] = entry.target(batch)
            else:
                values[name] = entry.target(batch.reconstructions, batch.originals)
        except MetricUnavailable as error:
            notes.append(f"{name}: {error}")
    # JSON would keep NaN, but a mean over batches must not.
    measured = {name: value for name, value in batch_values.items() if not math.isnan(value)}
    return Scores(values, tuple(notes), measured)


def score_images(reconstructions: Tensor, originals: Tensor, metrics: Sequence[str]) -> Scores:
    """Score each reconstruction against the original of the same index: `score_batch` for images without labels.

    >>> import torch
    >>> image = torch.rand(2, 3, 16, 16)
    >>> score_images(image, image, ["psnr"]).values
    {'psnr': tensor([inf, inf])}
    """
    return score_batch(ScoredBatch(reconstructions, originals), metrics)


def _check_images(argument: str, images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(f"{argument} must be (B, C, H, W) with C = 1 or 3, not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"{argument} must be floats in [0, 1], not {images.dtype}")
    low, high = (bound.item() for bound in images.aminmax())
    if not (low >= 0 and high <= 1):  # written so that NaN fails it
        raise ValueError(f"{argument} must lie in [0, 1], not in [{low:.6g}, {high:.6g}]")
