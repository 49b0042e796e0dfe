"""Identifiability of finished trials: features of the evaluation pool, cached, and of the stored reconstructions."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from gradinv.benchmark.datasets import Dataset, Split, create_dataset
from gradinv.benchmark.machine import cache_root
from gradinv.benchmark.victims import (
    LoadedVictim,
    VictimError,
    VictimSpec,
    load_victim,
    needs_training,
    normalise,
    require_model,
)
from gradinv.metrics.images import Pool, identified, iip_name
from gradinv.metrics.records import Additions, Record, RunDirectory, add, read_tensors, write_tensors

_CHUNK = 128  # images at once


@dataclass(frozen=True)
class Judge:
    """A network that tells images apart, and the pool it looks among; `places` is by the hash of a picture."""

    network: LoadedVictim
    name: str
    pool: Pool
    places: dict[str, int]

    @property
    def metrics(self) -> tuple[str, str]:
        """The names of both metrics: among the whole pool, and among the images of the class."""
        return _names(self.name, len(self.pool))


@dataclass(frozen=True)
class NoJudge:
    """Why there is no network for a data set, and the metrics that its trials lack."""

    metrics: tuple[str, str]
    error: VictimError


def _names(network: str, pool: int) -> tuple[str, str]:
    return iip_name(network, pool), iip_name(network, pool, within_class=True)


def identify(run: RunDirectory, records: Sequence[Record], spec: VictimSpec, *, device: str, download: bool) -> int:
    """Measure the identifiability of every scored trial of a run directory; returns of how many it could be.

    Both metrics are written beside the records; a trial that has none gets the reason. The pool is the evaluation split
    of the trial's data set. Raises VictimError where the network's weights are missing for every data set: none is
    trained here; where they are missing for some, the trials of these get that for a reason.
    """
    scored = [record for record in records if record.is_scored]
    # One judge a data set and image size: its features of the pool take minutes, those of a trial a moment.
    data = dict.fromkeys((str(record.spec["dataset"]), int(record.spec["image_size"])) for record in scored)
    judges = {chosen: _judge_or_none(spec, create_dataset(*chosen), device, download) for chosen in data}
    errors = [judge.error for judge in judges.values() if isinstance(judge, NoJudge)]
    if errors and len(errors) == len(judges):
        raise errors[0]
    measured = 0
    for record in scored:
        judge = judges[record.spec["dataset"], record.spec["image_size"]]
        additions = _measure(judge, record, read_tensors(run.tensors(record.id)), device)
        add(run.additions(record.id), additions)
        measured += bool(additions.metrics)
    return measured


def _judge_or_none(spec: VictimSpec, dataset: Dataset, device: str, download: bool) -> "Judge | NoJudge":
    try:
        return judge_for(spec, dataset, device=device, download=download)
    except VictimError as error:
        return NoJudge(_names(spec.model, len(dataset.split("evaluation"))), error)


def judge_for(spec: VictimSpec, dataset: Dataset, *, device: str, download: bool) -> Judge:
    """The network with the features of the data set's evaluation split, all of it, from the cache where it has them."""
    require_model(spec.model)
    # Refused, not trained: a judge that nobody chose with care would decide what counts as identified.
    if needs_training(spec, dataset):
        raise VictimError(
            f"{spec.key} (seed {spec.seed}) for {dataset.name} {dataset.image_size} px is not in the cache; make it: "
            f"gradinv train {spec.model} --dataset {dataset.name} --image-size {dataset.image_size} --seed {spec.seed}"
        )
    network, split = load_victim(spec, dataset, download=download), dataset.split("evaluation")
    features, hashes = _pool_features(network, dataset, split, device)
    # An image that the split holds twice is one identity: finding its copy is finding it.
    first_place: dict[str, int] = {}
    identities = torch.tensor([first_place.setdefault(name, index) for index, name in enumerate(hashes)])
    return Judge(network, spec.model, Pool(features, torch.from_numpy(split.labels), identities), first_place)


def _measure(judge: Judge | NoJudge, record: Record, tensors: dict[str, np.ndarray], device: str) -> Additions:
    """Both metrics of one trial, or why it has none."""
    reason = str(judge.error) if isinstance(judge, NoJudge) else _reason(judge, record, tensors)
    if reason or isinstance(judge, NoJudge):
        return Additions(notes=dict.fromkeys(judge.metrics, reason))
    images = torch.from_numpy(tensors["reconstruction"]).float() / 255
    features = next(_features(judge.network, [images], device))
    originals = torch.tensor([judge.places[image.image] for image in record.images])
    metrics: dict[str, list[float | None]] = {}
    for name, within_class in zip(judge.metrics, (False, True), strict=True):
        values = identified(features, originals, judge.pool, within_class=within_class).tolist()
        # NaN: an image that is alone in its class cannot be told from others of it.
        metrics[name] = [None if math.isnan(value) else value for value in values]
    note = f"weights {judge.network.weights_hash}, cosine of pooled features, 8-bit pictures"
    return Additions(metrics=metrics, notes=dict.fromkeys(judge.metrics, note))


def _reason(judge: Judge, record: Record, tensors: dict[str, np.ndarray]) -> str:
    """Why a trial cannot be judged; empty where it can."""
    # The attacked network would favour pictures that have its own features, which is what attacks optimise.
    if record.spec["weights_hash"] == judge.network.weights_hash:
        return "the network would be the attacked victim itself"
    if "reconstruction" not in tensors:
        return "the trial's pictures are not on disk"
    if any(image.image not in judge.places for image in record.images):
        return "the data set here is not the one of the trial"
    return ""


def _pool_features(network: LoadedVictim, dataset: Dataset, split: Split, device: str) -> tuple[Tensor, list[str]]:
    """Features (M, D) and hash of every image of the split."""
    # Everything that changes a feature is in the name, so that a cached file needs no check and is never stale.
    key = (dataset.name, dataset.image_size, split.content_hash, network.weights_hash, network.mean, network.std)
    path = cache_root() / "features" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.safetensors"
    if path.is_file():
        cached = load_file(path)
        return cached["features"], [bytes(row).hex() for row in cached["hashes"].numpy()]
    chunks = [range(start, min(start + _CHUNK, len(split))) for start in range(0, len(split), _CHUNK)]
    batches = (split.images(chunk) for chunk in tqdm(chunks, desc=f"features of {dataset.name}", disable=None))
    features = torch.cat(list(_features(network, batches, device)))
    hashes = [split.image_hash(index) for index in range(len(split))]
    rows = torch.tensor([list(bytes.fromhex(name)) for name in hashes], dtype=torch.uint8)
    write_tensors(path, {"features": features, "hashes": rows})
    return features, hashes


@torch.no_grad()
def _features(network: LoadedVictim, batches: Sequence[Tensor] | Iterator[Tensor], device: str) -> Iterator[Tensor]:
    """What enters the classifier, (n, D) on the CPU, for each batch of images (n, 3, H, W) in [0, 1]."""
    module = network.module.to(device).eval()
    inputs_seen: list[Tensor] = []
    classifier = getattr(module, "get_classifier", lambda: None)()
    if not isinstance(classifier, nn.Module):
        raise VictimError("a network that judges identifiability needs one classifier; take a ResNet")
    # A hook, because timm's networks differ in what they do between their features and their classifier.
    handle = classifier.register_forward_pre_hook(lambda _, inputs: inputs_seen.append(inputs[0].flatten(1).cpu()))
    try:
        for images in batches:
            module(normalise(images.to(device), network.mean, network.std))
            yield inputs_seen.pop()
    finally:
        handle.remove()
