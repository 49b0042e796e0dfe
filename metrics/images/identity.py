"""Identity: the rank of the original among a pool of photographs, when a judge sorts them by likeness to a picture.

A picture can show who or what was photographed and still be worse than the mean image by PSNR. Ranks are normalised: 0
is the original in first place, 0.5 chance.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from gradinv.metrics.images.scoring import MetricUnavailable, ScoredBatch, register_metric

LOWPASS_SIDE = 16
_CHUNK = 64  # pictures at once: 64 at 224 px take 39 MB

FeatureMaker = Callable[[Tensor], Tensor]
"""Images (n, 3, H, W) in [0, 1] -> features (n, ...): what a judge sees in each."""
_TIED = 1e-6  # likenesses that differ by less are equal: rounding of single precision
_CONTENT = 1e-4  # root mean square below which a low-passed picture is empty


class Likeness(ABC):
    """How a judge compares what it sees, prepared for the features (M, ...) of one pool; more is more alike."""

    @abstractmethod
    def __init__(self, pool: Tensor) -> None:
        """Prepare what every comparison with this pool needs."""

    @abstractmethod
    def to_pool(self, pictures: Tensor) -> Tensor:
        """Likeness of the features (B, ...) of pictures to every photograph of the pool, (B, M)."""

    @abstractmethod
    def to_originals(self, pictures: Tensor, originals: Tensor) -> Tensor:
        """Likeness of the features of pictures to those of their originals, both (B, ...): (B,)."""


@dataclass(frozen=True)
class Pool:
    """The photographs that a picture may be taken for: `size` of them, read by `images` as (n, 3, H, W) in [0, 1].

    `name` says in words which they are. Their features are made once for each judge.
    """

    name: str
    size: int
    images: Callable[[Sequence[int]], Tensor]
    _features: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _likeness: dict[str, Likeness] = field(default_factory=dict, repr=False)

    def features(self, judge: str, make: FeatureMaker) -> Tensor:
        """What the judge of that name sees in each photograph, (size, ...)."""
        if judge not in self._features:
            self._features[judge] = torch.cat([make(chunk) for chunk in self._chunks()])
        return self._features[judge]

    def likeness(self, judge: str, make: FeatureMaker, kind: type[Likeness]) -> Likeness:
        """How the judge of that name compares with these photographs, prepared once."""
        if judge not in self._likeness:
            self._likeness[judge] = kind(self.features(judge, make))
        return self._likeness[judge]

    def knows(self, judge: str) -> bool:
        """Whether the features of that judge are here."""
        return judge in self._features

    def remember(self, judge: str, features: Tensor) -> None:
        """Take features (size, ...) of a judge that were made before."""
        self._features[judge] = features

    def _chunks(self) -> Iterator[Tensor]:
        for start in range(0, self.size, _CHUNK):
            yield self.images(range(start, min(start + _CHUNK, self.size)))


def normalised_ranks(to_original: Tensor, to_pool: Tensor, rivals: Tensor) -> Tensor:
    """Where the original of each picture stands among its rivals.

    `to_original` (B,) is the likeness of each picture to its original, `to_pool` (B, M) to each photograph of the pool,
    `rivals` (B, M) booleans: which of the pool each original is compared with (never itself). Returns (B,) in [0, 1]:
    the share of rivals that are nearer than the original, a tie counting half, so that a picture without any content
    has 0.5; NaN without rivals. The rank is 1 + that share times the number of rivals.

    >>> rivals = torch.tensor([[False, True, True, True, True]])
    >>> normalised_ranks(torch.tensor([0.5]), torch.tensor([[0.5, 0.9, 0.1, 0.1, 0.5]]), rivals)
    tensor([0.3750], dtype=torch.float64)
    """
    # Rounding differs between a product of matrices and a sum.
    tied = torch.isclose(to_pool, to_original[:, None], rtol=0, atol=_TIED)
    nearer = (to_pool > to_original[:, None]) & ~tied
    count = (nearer & rivals).sum(1) + (tied & rivals).sum(1).double() / 2
    total = rivals.sum(1)
    return (count / total).masked_fill(total == 0, math.nan)


def ranks_of(batch: ScoredBatch, judge: str, make: FeatureMaker, kind: type[Likeness]) -> Tensor:
    """The normalised ranks (B,) of a batch by one judge; MetricUnavailable where the batch came without a pool."""
    if batch.pool is None or batch.rivals is None:
        raise MetricUnavailable("there is no pool of photographs to look among")
    likeness, pictures = batch.pool.likeness(judge, make, kind), make(batch.reconstructions)
    to_original = likeness.to_originals(pictures, make(batch.originals))
    return normalised_ranks(to_original, likeness.to_pool(pictures), batch.rivals).to(batch.originals.dtype)


class CosineLikeness(Likeness):
    """Cosine of features (n, D)."""

    def __init__(self, pool: Tensor) -> None:
        self._pool = F.normalize(pool.double(), dim=1)

    def to_pool(self, pictures: Tensor) -> Tensor:
        return F.normalize(pictures.double(), dim=1) @ self._pool.T

    def to_originals(self, pictures: Tensor, originals: Tensor) -> Tensor:
        return F.cosine_similarity(pictures.double(), originals.double())


class LowpassLikeness(Likeness):
    """Largest correlation of low-passed pictures (n, C, s, s) over shifts up to an eighth of the side and the mirror.

    The pool's mean is taken out of everything: attacks leave blends with it, and all photographs resemble it. What is
    without content has 0.
    """

    # In single precision: a trial compares hundreds of shifted snapshots with a thousand photographs.
    def __init__(self, pool: Tensor) -> None:
        mean = pool.mean(0).flatten()
        self._mean = mean / mean.norm().clamp_min(_TIED)
        self._pool = self._contents(pool).flatten(1).float()

    def to_pool(self, pictures: Tensor) -> Tensor:
        turned = self._turned(pictures)
        return (turned.flatten(0, 1) @ self._pool.T).unflatten(0, turned.shape[:2]).amax(0)

    def to_originals(self, pictures: Tensor, originals: Tensor) -> Tensor:
        return (self._turned(pictures) * self._contents(originals).flatten(1).float()).sum(2).amax(0)

    def _turned(self, pictures: Tensor) -> Tensor:
        """The pictures in every shift, as they are and mirrored: (turns, B, D)."""
        seen = self._contents(pictures)
        # The mirror acts on what is left: so the mean image itself, mirrored, is still without content.
        turns = [shifted for image in (seen, seen.flip(3)) for shifted in _shifts(image)]
        return torch.stack(turns).flatten(2).float()

    def _contents(self, images: Tensor) -> Tensor:
        """The images without their part along the pool's mean, each of norm 1."""
        flat = images.flatten(1)
        return directions(flat - (flat @ self._mean)[:, None] * self._mean).view(images.shape)


def lowpass_features(images: Tensor) -> Tensor:
    """Every channel at 16 x 16, antialiased (smaller images as they are), without its mean: (n, C, s, s)."""
    side = min(LOWPASS_SIDE, *images.shape[-2:])
    small = F.interpolate(images.double(), (side, side), mode="bilinear", antialias=True)
    return small - small.mean((2, 3), keepdim=True)


def directions(features: Tensor) -> Tensor:
    """Low-passed pictures (n, D) scaled to norm 1; zeros for one without content, which has no direction."""
    norm = features.norm(dim=1, keepdim=True)
    has_content = norm > _CONTENT * math.sqrt(features.shape[1])
    return torch.where(has_content, features / norm.clamp_min(_TIED), 0)


def _shifts(images: Tensor) -> Iterator[Tensor]:
    """The images moved by up to an eighth of the side in both directions; what is shifted in is empty."""
    side = images.shape[-1]
    reach = side // 8
    padded = F.pad(images, (reach,) * 4)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            yield padded[..., down : down + side, right : right + side]


@register_metric(
    "identity_lowpass",
    title="identity (low pass)",
    meaning="normalised rank of the original in the pool by the weight-free judge, a low pass; 0.5: chance",
    direction="lower",
    low=0.0,
    high=1.0,
    board_column=65,
    always=True,
    needs_pool=True,
    panel=True,
)
def identity_lowpass(batch: ScoredBatch) -> Tensor:
    """Normalised rank of each original in the pool by the correlation of low-passed pictures: no network, no weights.

    (B,) in [0, 1]: 0 where the picture is nearer to its original than to any rival, 0.5 by chance. It sees through
    noise, checkerboards, saturation, blur, colour, small shifts and the mirror, not through large shifts or inverted
    contrast.
    """
    return ranks_of(batch, "lowpass", lowpass_features, LowpassLikeness)
