"""Label inference on many private batches: every rule on the client's gradient of the classifier's weight.

Repetitions run in chunks. A finished chunk is kept in a file whose name holds the hash of everything that changes its
result, and is never run again; a killed run loses at most one chunk.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from gradinv.attacks.labels import RULES
from gradinv.benchmark.datasets import Dataset, draw_batch
from gradinv.benchmark.experiment import result_versions
from gradinv.benchmark.label_inference.classifier_gradients import (
    check_against_client,
    classifier_gradients,
    classifier_name,
)
from gradinv.benchmark.victims import LoadedVictim, VictimSpec, load_victim, normalise
from gradinv.metrics.boards import LabelCell
from gradinv.metrics.images import shared_labels
from gradinv.metrics.records import read_file, write_text
from gradinv.metrics.registry import RequestError

CHUNK = 50
"""Repetitions in one file: about two seconds of a ResNet-18 at 32 px."""
PACKAGES = ("gradinv", "torch", "torchvision", "timm", "numpy", "pillow")

Accuracies = dict[str, dict[int, list[float]]]
"""Rule -> batch size -> share of the labels found, one a repetition."""


class LabelRequestError(RequestError):
    """Private batches that the data set cannot give; its text says which and why."""


class Chunk(BaseModel):
    """The results of some consecutive repetitions, as they are kept on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracies: Accuracies
    versions: dict[str, str]
    date: str


def infer_labels_of(
    spec: VictimSpec,
    dataset: Dataset,
    *,
    batch_sizes: Sequence[int],
    batches: int,
    out: Path,
    device: str = "cpu",
    download: bool = False,
    progress: bool = True,
) -> list[LabelCell]:
    """Every rule on repetitions 0 to `batches` - 1 at every batch size; one cell per rule and size.

    Labels are distinct within a batch, the client's network is in eval mode, no defense. On a CPU with one thread, as a
    trial. Chunks are kept in `out`/chunks. Raises LabelRequestError for a batch larger than the number of classes and
    DataError where the data cannot fill one, both before a victim is trained; otherwise as `load_victim` and
    `classifier_gradients`.
    """
    sizes = possible_sizes(dataset, batch_sizes)
    loaded = load_victim(spec, dataset, download=download, progress=progress)
    identity = _identity(spec, dataset, loaded, sizes, device)
    loaded.module.to(device)
    title = f"labels of {spec.model} ({loaded.state}) on {dataset.name}"
    chunks = []
    # A bar in a log file is a line a step.
    shown = progress and sys.stderr.isatty()
    with _one_thread(), tqdm(total=batches, desc=title, unit="batch", disable=not shown) as bar:
        for repetitions in _chunked(batches):
            chunks.append(_chunk(out / "chunks", identity, dataset, loaded, sizes, repetitions))
            bar.update(len(repetitions))
    return _cells(spec, dataset, loaded, sizes, chunks, device)


def possible_sizes(dataset: Dataset, batch_sizes: Sequence[int]) -> list[int]:
    """The batch sizes, each once and sorted; LabelRequestError or DataError where the data set has no such batch."""
    sizes = sorted(set(batch_sizes))
    classes = len(dataset.classes)
    if sizes[-1] > classes:
        raise LabelRequestError(
            f"batch size {sizes[-1]}: labels are distinct and {dataset.name} has {classes} classes; "
            f"take at most {classes}, or a data set with more classes"
        )
    # Drawn for its DataError alone, which is to come before a victim is trained.
    draw_batch(dataset, repetition=0, batch_size=sizes[-1])
    return sizes


@contextmanager
def _one_thread() -> Iterator[None]:
    """One CPU thread, as for a trial, because rounding depends on it; a victim may be trained with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chunked(batches: int) -> Iterator[range]:
    for start in range(0, batches, CHUNK):
        yield range(start, min(start + CHUNK, batches))


def _identity(spec: VictimSpec, dataset: Dataset, loaded: LoadedVictim, sizes: Sequence[int], device: str) -> str:
    """16 hexadecimal digits that change with all that changes a result.

    The sizes are part of it, because the largest is the batch of the forward pass, on which rounding depends.
    """
    shaping: dict[str, Any] = {
        "dataset": dataset.name,
        "image_size": dataset.image_size,
        "data": dataset.split("evaluation").content_hash,
        "weights": loaded.weights_hash,
        "network": [spec.model, spec.stem],
        "normalisation": [loaded.mean, loaded.std],
        "rules": sorted(RULES),
        "batch_sizes": list(sizes),
        "device": device,
        "versions": result_versions(),
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def _chunk(
    folder: Path, identity: str, dataset: Dataset, loaded: LoadedVictim, sizes: Sequence[int], repetitions: range
) -> Chunk:
    """The chunk on disk, or, where there is none that can be read, a new one, which is then on disk."""
    # With the end in its name: the last chunk of a shorter run is no full one and must not pass for it.
    path = folder / f"{identity}-{repetitions.start:06d}-{repetitions.stop:06d}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    accuracies = run_repetitions(dataset, loaded, sizes, repetitions)
    versions = {package: version(package) for package in PACKAGES}
    chunk = Chunk(accuracies=accuracies, versions=versions, date=datetime.now(UTC).date().isoformat())
    write_text(path, chunk.model_dump_json())
    return chunk


def _read(path: Path) -> Chunk | None:
    """The chunk in the file; None where there is none that can be read: it is then computed, and replaced."""
    try:
        return Chunk.model_validate_json(read_file(path))
    except (OSError, ValueError):  # pydantic's ValidationError is a ValueError
        return None


def run_repetitions(
    dataset: Dataset, loaded: LoadedVictim, sizes: Sequence[int], repetitions: Sequence[int]
) -> Accuracies:
    """Every rule's share of labels found, for these repetitions at these batch sizes.

    The first repetition is checked against the client's update: InconsistentExperimentError where they differ.
    """
    classifier = classifier_name(loaded.module, (3, dataset.image_size, dataset.image_size))
    device = next(loaded.module.parameters()).device
    accuracies: Accuracies = {rule: {size: [] for size in sizes} for rule in RULES}
    for repetition in repetitions:
        # One draw and one forward pass serve every size: the smaller batches are beginnings of the largest.
        batch = draw_batch(dataset, repetition=repetition, batch_size=max(sizes))
        images, labels = normalise(batch.images, loaded.mean, loaded.std).to(device), batch.labels.to(device)
        gradients = classifier_gradients(loaded.module, classifier, images, labels, sizes)
        if repetition == repetitions[0]:  # once a chunk: the check costs the backpropagation that is saved
            check_against_client(loaded.module, classifier, images, labels, gradients)
        for rule, infer in RULES.items():
            for size, gradient in gradients.items():
                accuracies[rule][size].append(shared_labels(infer(gradient, size), labels[:size]))
    return accuracies


def _cells(
    spec: VictimSpec, dataset: Dataset, loaded: LoadedVictim, sizes: Sequence[int], chunks: list[Chunk], device: str
) -> list[LabelCell]:
    # Chunks of one row may have been run on different days, with different versions: all are named, each once.
    versions = (", ".join(f"{name} {value}" for name, value in sorted(chunk.versions.items())) for chunk in chunks)
    distinct_versions = "; ".join(dict.fromkeys(versions))
    return [
        LabelCell(
            rule=rule,
            dataset=dataset.name,
            image_size=dataset.image_size,
            victim=spec.key,
            victim_state=loaded.state,
            victim_seed=spec.seed,
            victim_accuracy=loaded.accuracy,
            zero_gradient_share=loaded.zero_gradient_share,
            batch_size=size,
            num_classes=len(dataset.classes),
            accuracies=tuple(value for chunk in chunks for value in chunk.accuracies[rule][size]),
            data_hash=dataset.split("evaluation").content_hash[:16],
            weights_hash=loaded.weights_hash,
            device=device,
            versions=distinct_versions,
            date=max(chunk.date for chunk in chunks),
        )
        for rule in RULES
        for size in sizes
    ]
