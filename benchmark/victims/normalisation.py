"""Between images in [0, 1] and images as a victim sees them."""

import torch
from torch import Tensor

from gradinv.benchmark.datasets import Dataset, Normalisation, of_channels

_OF_PIXELS = ("lenet_dlg", "mlp1000", "mlp_cpa", "mlp6", "mlp300x3", "mlp500x6", "cnn3_rgap", "cnn6_rgap", "vit_april")
# The code of the DLG paper feeds its LeNet images in [0, 1] as they are, and so do those of the exact attacks.
FIXED_BY_AUTHORS: dict[str, Normalisation] = dict.fromkeys(_OF_PIXELS, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


def normalisation_of(model: str, dataset: Dataset) -> Normalisation:
    """Mean and standard deviation a channel: the network's where its authors fix them, else the data set's."""
    mean, std = FIXED_BY_AUTHORS.get(model, (dataset.mean, dataset.std))
    return of_channels(mean, dataset.channels), of_channels(std, dataset.channels)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images (B, C, H, W) in [0, 1] as the victim sees them."""
    return (images - _channels(mean, images)) / _channels(std, images)


def denormalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The inverse of `normalise`, clamped to [0, 1]; what is not finite becomes mid-grey."""
    pixels = images * _channels(std, images) + _channels(mean, images)
    # Before clamping, which would let NaN through and turn an infinity into a perfect black or white.
    return torch.where(torch.isfinite(pixels), pixels, torch.full_like(pixels, 0.5)).clamp(0, 1)


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
