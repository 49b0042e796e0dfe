"""Who tells whether a picture shows its original: the pool of photographs, and the network that judges beside.

The weight-free judge is a metric like any other (`identity_lowpass`). The network is never the victim, nor of its
weights; where none is at hand, or the images are too small for one, the weight-free judge stands alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gradinv.benchmark.datasets import Batch, Dataset, Role, random_state
from gradinv.benchmark.machine import cache_root
from gradinv.benchmark.victims import LoadedVictim, normalise, packaged_network, packaged_source
from gradinv.metrics.image_size import ImageSize, sides
from gradinv.metrics.images import (
    CosineLikeness,
    LowpassLikeness,
    Pool,
    ScoredBatch,
    identity_name,
    lowpass_features,
    ranks_of,
)
from gradinv.metrics.records import write_tensors
from gradinv.metrics.registry import RequestError

POOL_SIZE = 1_000
"""Photographs in the pool, the original included: as many as the data set has beside its training images, if fewer."""
SMALLEST_FOR_NETWORK = 64
"""Pixels: a network trained on ImageNet sees nothing in smaller images."""
JUDGES = ("tf_efficientnet_lite2", "tf_efficientnet_lite0")
"""Packaged networks that judge, the stronger one first."""
_ROLES: tuple[Role, ...] = ("evaluation", "tuning")
_CHUNK = 32


class Place(NamedTuple):
    """A photograph of the pool: its split and its place there."""

    role: Role
    number: int


class JudgeError(RequestError):
    """A network that cannot judge; its text says why in one line."""


@dataclass(frozen=True)
class NetworkJudge:
    """A network that tells images apart by what enters its classifier.

    `name` is what its metric is called after, `source` says where its weights come from; `module` is in eval mode and
    sees images that are normalised by `mean` and `std`. `weights_hash` tells it from a victim.
    """

    name: str
    source: str
    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_hash: str

    @property
    def metric(self) -> str:
        """The name of its metric."""
        return identity_name(self.name)

    @property
    def key(self) -> str:
        """What its features depend on, beside the images: two networks of one name are two judges."""
        return repr((self.weights_hash, self.mean, self.std))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """What enters the classifier, (n, D), for images (n, 3, H, W) in [0, 1]."""
        classifier = getattr(self.module, "get_classifier", lambda: None)()
        if not isinstance(classifier, nn.Module):
            raise JudgeError(f"{self.name} has not one classifier, so that it cannot judge; take a ResNet")
        seen: list[Tensor] = []
        # A hook, because timm's networks differ in what they do between their features and their classifier.
        handle = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
        try:
            for chunk in images.split(_CHUNK):
                self.module(normalise(chunk, self.mean, self.std))
        finally:
            handle.remove()
        return torch.cat(seen)


@lru_cache(maxsize=2)
def places_of(dataset: Dataset) -> tuple[Place, ...]:
    """The photographs of a data set's pool, in a seeded order: evaluation images first, then tuning images."""
    places: list[Place] = []
    for role in _ROLES:
        order = random_state("pool", dataset.name, role).permutation(len(dataset.split(role))).tolist()
        places += [Place(role, index) for index in order]
    return tuple(places[:POOL_SIZE])


@lru_cache(maxsize=2)
def pool_of(dataset: Dataset) -> Pool:
    """The pool of a data set, its features made once a process."""
    places = places_of(dataset)

    def images(indices: Sequence[int]) -> Tensor:
        return torch.cat([dataset.split(places[i].role).images([places[i].number]) for i in indices])

    return Pool(f"{len(places)} held-out images of {dataset.name}, {dataset.image_size} px", len(places), images)


def rivals_of(dataset: Dataset, batch: Batch) -> Tensor:
    """Which of the pool each original of a batch is compared with, booleans (B, M).

    Not with itself, not with an equal picture, not with one that shows much of the same photograph.
    """
    split, hashes = dataset.split(batch.role), _pool_hashes(dataset)

    def overlaps(index: int, place: Place) -> bool:
        return place.role == batch.role and split.overlaps(index, place.number)

    rows = [
        [hashes[i] != image and not overlaps(index, place) for i, place in enumerate(places_of(dataset))]
        for index, image in zip(batch.indices, batch.hashes, strict=True)
    ]
    rivals = torch.tensor(rows)
    # As many for each, whether the original is one of the pool or not: a rank is one of `POOL_SIZE`.
    return rivals & (rivals.cumsum(1) < POOL_SIZE)


@lru_cache(maxsize=2)
def _pool_hashes(dataset: Dataset) -> tuple[str, ...]:
    return tuple(dataset.split(place.role).image_hash(place.number) for place in places_of(dataset))


def default_judge(dataset: Dataset, victim: str) -> NetworkJudge | None:
    """The network that judges the trials of a victim's architecture; None where none is here or fit for the images."""
    if min(sides(dataset.image_size)) < SMALLEST_FOR_NETWORK:
        return None
    # Never of the victim's architecture, whatever the weights; `Identity.of` compares these as well.
    model = next((name for name in JUDGES if name != victim and packaged_source(name)), None)
    return None if model is None else _packaged_judge(model, dataset.image_size)


@lru_cache(maxsize=2)
def _packaged_judge(model: str, image_size: ImageSize) -> NetworkJudge:
    loaded = packaged_network(model, image_size)
    return judge_of_network(model, loaded, loaded.source)


def judge_of_network(name: str, loaded: LoadedVictim, source: str) -> NetworkJudge:
    """A loaded network as a judge of that name."""
    return NetworkJudge(name, source, loaded.module.eval(), loaded.mean, loaded.std, loaded.weights_hash)


@dataclass(frozen=True)
class Identity:
    """What ranks the originals of one batch: the pool of its data set, and the judges; `network` None: no network."""

    dataset: Dataset
    rivals: Tensor
    victim: str
    network: NetworkJudge | None

    @classmethod
    def of(cls, dataset: Dataset, batch: Batch, victim: str, victim_hash: str | None) -> "Identity":
        """The identity of a batch by the judges of every trial; never by a network of the victim's own weights."""
        judge = default_judge(dataset, victim)
        is_victim = judge is not None and judge.weights_hash == victim_hash
        return cls(dataset, rivals_of(dataset, batch), victim, None if is_victim else judge)

    def by(self, network: NetworkJudge) -> "Identity":
        """The same batch before another network."""
        return replace(self, network=network)

    @property
    def pool(self) -> Pool:
        """The photographs that originals are looked for among."""
        return pool_of(self.dataset)

    @property
    def judges(self) -> dict[str, str]:
        """Metric -> its judge in words."""
        network = {} if self.network is None else {self.network.metric: described(self.network, self.victim)}
        return {"identity_lowpass": "correlation of low-passed pictures, no weights", **network}

    def with_pool(self, scored: ScoredBatch) -> ScoredBatch:
        """The batch with its pool beside it."""
        return replace(scored, pool=self.pool, rivals=self.rivals)

    def network_ranks(self, scored: ScoredBatch) -> dict[str, Tensor]:
        """Metric -> normalised ranks (B,) by the network; nothing without one."""
        return {} if self.network is None else {self.network.metric: network_ranks(self.network, scored, self.dataset)}

    def lowpass(self, snapshots: Tensor, scored: ScoredBatch) -> list[float]:
        """Mean normalised rank by the weight-free judge of each of some snapshots (S, B, C, H, W) of the batch."""
        copies = len(snapshots)
        # All at once: preparing the pool costs more than comparing with it.
        originals, rivals = scored.originals.repeat(copies, 1, 1, 1), self.rivals.repeat(copies, 1)
        repeated = ScoredBatch(snapshots.flatten(0, 1), originals, pool=self.pool, rivals=rivals)
        ranks = ranks_of(repeated, "lowpass", lowpass_features, LowpassLikeness)
        return ranks.view(copies, -1).mean(1).tolist()

    def details(self) -> dict[str, list[float]]:
        """The size of each original's pool, itself included, by which normalised ranks are ranks."""
        return {"identity_pool": [float(count) + 1 for count in self.rivals.sum(1)]}


def described(judge: NetworkJudge, victim: str) -> str:
    """The judge in words: its weights, and whether it is a relative of the victim, whose textures may please it."""
    # The name of a judge that was chosen ends in the beginning of its weights' hash, after a hyphen.
    is_relative = _family(judge.name.partition("-")[0]) == _family(victim)
    return f"{judge.source}{'; a relative of the victim' * is_relative}"


def _family(model: str) -> str:
    """The module that builds a model, for timm keeps a family in one; the name of a model that timm does not know."""
    name = model.split(".")[0]
    return str(timm.models.model_entrypoint(name).__module__) if timm.is_model(name) else name


def network_ranks(judge: NetworkJudge, scored: ScoredBatch, dataset: Dataset) -> Tensor:
    """Normalised ranks (B,) by a network, with its features of the pool from the cache where that has them."""
    pool = pool_of(dataset)
    if not pool.knows(judge.key):
        pool.remember(judge.key, _pool_features(judge, dataset, pool))
    return ranks_of(scored, judge.key, judge.features, CosineLikeness)


def _pool_features(judge: NetworkJudge, dataset: Dataset, pool: Pool) -> Tensor:
    """Features (M, D) of the pool by a network: minutes of work, kept on disk."""
    # Everything that changes a feature is in the name, so that a cached file needs no check and is never stale.
    content = [dataset.split(role).content_hash for role in _ROLES]
    key = (dataset.name, dataset.image_size, content, places_of(dataset), judge.key)
    path = cache_root() / "features" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.safetensors"
    kept = _kept_features(path, len(places_of(dataset)))
    if kept is not None:
        return kept
    features = pool.features(judge.key, judge.features)
    write_tensors(path, {"features": features})
    return features


def _kept_features(path: Path, count: int) -> Tensor | None:
    """The features in a file of the cache; None where there are none that can be read: they are then made again."""
    try:
        features = load_file(path)["features"] if path.is_file() else None
    except (OSError, SafetensorError, KeyError):
        return None
    return features if features is not None and features.ndim == 2 and len(features) == count else None
