"""Score images without a benchmark around them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradinv.metrics.images import METRICS, board_metrics, match, score_images


def evaluate(
    reconstructions: Any, originals: Any, metrics: Sequence[str] | None = None, *, matched: bool = False
) -> pd.DataFrame:
    """Score reconstructions against originals: one row an original, one column a metric.

    Both are tensors or arrays (B, C, H, W) or (C, H, W), C = 1 or 3: floats in [0, 1], or 8-bit integers. Unless they
    are `matched` already, each original gets one reconstruction as in a trial (column `reconstruction`). Without
    `metrics` those of every board are measured that need no pool of photographs; what the images are too small for,
    or whose weights are missing, is named in `frame.attrs["notes"]`. ValueError for other images.

    >>> images = torch.rand(2, 3, 16, 16)
    >>> evaluate(images.flip(0), images, ["psnr"])
          reconstruction  psnr
    slot
    0                  1   inf
    1                  0   inf
    """
    returned, true = _images(reconstructions), _images(originals)
    if returned.shape != true.shape:
        raise ValueError(f"reconstructions are {tuple(returned.shape)}, originals {tuple(true.shape)}")
    names = _without_pool() if metrics is None else list(metrics)
    order = torch.arange(len(true)) if matched else match(returned, true)
    scores = score_images(returned[order], true, names)
    frame = pd.DataFrame({"reconstruction": order.tolist()}, index=pd.RangeIndex(len(true), name="slot"))
    for name, values in scores.values.items():
        frame[name] = values.numpy()
    # In `attrs`, so that columns are metrics alone.
    frame.attrs["notes"] = list(scores.notes)
    return frame


def _without_pool() -> list[str]:
    return [name for name in board_metrics("image") if not METRICS.constants(name).get("needs_pool")]


def _images(images: Any) -> Tensor:
    tensor = torch.as_tensor(np.asarray(images) if not isinstance(images, Tensor) else images).detach().cpu()
    tensor = tensor[None] if tensor.ndim == 3 else tensor
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
