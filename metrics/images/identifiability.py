"""Image identifiability precision (IIP): does a reconstruction point at its original among all candidates?"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK = 256  # reconstructions at once: their similarities to 50,000 images take 51 MB


@dataclass(frozen=True)
class Pool:
    """The candidates: features (M, D), labels (M,), and `identities` (M,), equal for equal pictures."""

    features: Tensor
    labels: Tensor
    identities: Tensor

    def __len__(self) -> int:
        return len(self.features)


def identified(features: Tensor, originals: Tensor, pool: Pool, *, within_class: bool = False) -> Tensor:
    """Whether the nearest of the pool to each reconstruction, by cosine similarity, is its original.

    `features` (B, D) of the reconstructions, `originals` (B,) the places of their originals in the pool -> float (B,):
    1 or 0, NaN where `within_class` leaves the original alone in its class. Pictures equal to the original count as it;
    a tie with another picture is no identification. By chance 1 in M is found (Yin et al. 2021, arXiv 2104.07586,
    Fig. 8: "IIP", there on the average-pooled features of a network over the validation set).

    >>> pool = Pool(torch.eye(3), torch.tensor([0, 0, 1]), torch.arange(3))
    >>> identified(torch.tensor([[1.0, 0.2, 0.0], [1.0, 0.2, 0.0]]), torch.tensor([0, 1]), pool)
    tensor([1., 0.])
    """
    parts = zip(features.split(_CHUNK), originals.split(_CHUNK), strict=True)
    return torch.cat([_identified(chunk, places, pool, within_class) for chunk, places in parts])


def _identified(features: Tensor, originals: Tensor, pool: Pool, within_class: bool) -> Tensor:
    similarity = F.normalize(features.float(), dim=1) @ F.normalize(pool.features.float(), dim=1).T
    is_original = pool.identities == pool.identities[originals][:, None]
    is_rival = ~is_original  # by identity, not by place: a second copy of the original is no rival of it
    if within_class:
        is_rival &= pool.labels == pool.labels[originals][:, None]
    nearest_original = similarity.masked_fill(~is_original, -torch.inf).amax(1)
    nearest_rival = similarity.masked_fill(~is_rival, -torch.inf).amax(1)
    # Strictly greater: of two equally near pictures nobody could say which is meant.
    hits = (nearest_original > nearest_rival).float()
    return hits.masked_fill(~is_rival.any(1), torch.nan)
