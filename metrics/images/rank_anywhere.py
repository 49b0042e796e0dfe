"""The rank of the original wherever it lies in the picture: what a large shift hid from the judges of identity."""

import torch
from torch import Tensor

from gradinv.metrics.images.identity import Likeness, directions, lowpass_features, ranks_of
from gradinv.metrics.images.scoring import ScoredBatch, register_metric


class CyclicLikeness(Likeness):
    """Largest correlation of low-passed pictures (n, C, s, s) over all cyclic shifts and the mirror.

    Nothing is taken out of the pictures first: the pool's mean lies nowhere in particular in one that is shifted.
    """

    def __init__(self, pool: Tensor) -> None:
        self._pool = _spectra(pool)

    def to_pool(self, pictures: Tensor) -> Tensor:
        return torch.stack([_highest(picture[None], self._pool) for picture in pictures])

    def to_originals(self, pictures: Tensor, originals: Tensor) -> Tensor:
        return _highest(pictures, _spectra(originals))


def _highest(pictures: Tensor, spectra: Tensor) -> Tensor:
    """The largest correlation of each picture with the photograph of the same index, (N,): by the Fourier transform."""
    turned = torch.stack([_spectra(pictures), _spectra(pictures.flip(3))])
    # Channels move together.
    return torch.fft.ifft2((turned.conj() * spectra).sum(2)).real.flatten(2).amax((0, 2))


def _spectra(images: Tensor) -> Tensor:
    return torch.fft.fft2(directions(images.flatten(1)).view(images.shape))


@register_metric(
    "rank_anywhere",
    title="rank anywhere",
    meaning="normalised rank of the original in the pool by a low pass, wherever it lies in the picture; 0.5: chance",
    direction="lower",
    low=0.0,
    high=1.0,
    needs_pool=True,
    panel=True,
)
def rank_anywhere(batch: ScoredBatch) -> Tensor:
    """Normalised rank of each original in the pool by the correlation of low-passed pictures over all cyclic shifts.

    (B,) in [0, 1]: 0 for the first place, 0.5 by chance. For networks whose update hardly says where things are: global
    pooling behind convolutions of stride 1. Measured on request: over all shifts photographs resemble each other more,
    so that it sees a little less than `identity_lowpass` where pictures are in their place. Where it was measured
    identity may leak by it. MetricUnavailable without a pool.
    """
    return ranks_of(batch, "anywhere", lowpass_features, CyclicLikeness)
