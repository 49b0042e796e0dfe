"""An autoencoder trained on public images: one safetensors file, with its recipe in a JSON file beside it.

Public are images of the train split, on which victims may train too; tuning and evaluation images are never seen.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load
from torch import Tensor
from tqdm import tqdm

from gradinv.attacks.leak import Autoencoder, fresh_autoencoder, reencoded
from gradinv.benchmark.datasets import Dataset, Role, random_state, seed_of
from gradinv.benchmark.machine import autoencoders_root
from gradinv.metrics.records import require_folder, short_name, write_tensors, write_text
from gradinv.metrics.registry import RequestError

ROLE: Role = "train"
HELD_OUT = 0.1
"""Share of the public images that the error is measured on."""


class AutoencoderError(RequestError):
    """An autoencoder that cannot be trained, or a file that holds none; its text names what is wrong."""


class AutoencoderRecipe(BaseModel):
    """How an autoencoder is trained: Adam on the squared error of pixels in [0, 1], one-cycle rate, mirrored images.

    Of the train split `images` at most are taken, at random. What goes in has `noise` times N(0, 1) on it and what is
    to come out has none, so that the error has a slope towards photographs also for what is far from any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(default=20_000, ge=2)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    noise: float = Field(default=0.1, ge=0)


@dataclass(frozen=True)
class TrainedAutoencoder:
    """A kept autoencoder; `sha256` is its file's, `words` say what it was trained on."""

    tensors: Autoencoder
    sha256: str
    words: str


def auxiliary_images(dataset: Dataset, count: int) -> list[int]:
    """Indices in the train split of the public images, `count` at most; DataError where there are none."""
    split = dataset.split(ROLE)
    order: list[int] = random_state("auxiliary_images", dataset.name).permutation(len(split)).tolist()
    return order[:count]


def autoencoder_path(dataset: Dataset) -> Path:
    """Where the autoencoder of a data set's train images is kept: one for each content and image size."""
    shaping = json.dumps([dataset.name, dataset.image_size, dataset.channels, dataset.split(ROLE).content_hash])
    digest = hashlib.sha256(shaping.encode()).hexdigest()[:16]
    return autoencoders_root() / f"{short_name(dataset.name)}-{digest}.safetensors"


def trained_autoencoder(dataset: Dataset) -> TrainedAutoencoder | None:
    """The kept autoencoder of a data set; None where none has been trained, or there are no images to train one on."""
    if not dataset.has(ROLE):
        return None
    path = autoencoder_path(dataset)
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=4)  # every trial of a suite asks
def _read(path: Path, changed: int) -> TrainedAutoencoder:
    """The autoencoder of a file; `changed` is when it was written, so that one trained anew is read again."""
    content = path.read_bytes()
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        words = f"{facts['trained_on']} {ROLE} images of {facts['dataset']}, {facts['recipe']['epochs']} epochs"
        return TrainedAutoencoder(load(content), hashlib.sha256(content).hexdigest(), words)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AutoencoderError(
            f"{path} and the JSON file beside it hold no autoencoder ({type(error).__name__}); train it again"
        ) from error


def train_autoencoder(
    dataset: Dataset, recipe: AutoencoderRecipe | None = None, *, seed: int = 0, device: str = "cpu"
) -> Path:
    """Train on the public images and keep the result, in place of an earlier one; returns the path of its weights.

    Seeded: on a CPU with as many threads the same weights to the bit. DataError where there are no train images,
    AutoencoderError where there are too few or training diverges.
    """
    recipe = recipe or AutoencoderRecipe()
    path = autoencoder_path(dataset)
    require_folder(path.parent, "the folder of trained autoencoders (GRADINV_CACHE)")  # before minutes of training
    chosen = auxiliary_images(dataset, recipe.images)
    count = len(chosen) - max(1, round(HELD_OUT * len(chosen)))
    if count < 1:
        raise AutoencoderError(f"data set {dataset.name} has {len(chosen)} {ROLE} images; an autoencoder needs 2")
    tensors = {
        name: value.to(device).requires_grad_(True)
        for name, value in fresh_autoencoder(dataset.channels, seed=seed_of("autoencoder", seed)).items()
    }
    loss = _fit(tensors, dataset, chosen[:count], recipe, torch.Generator().manual_seed(seed))
    kept = {name: value.detach().cpu() for name, value in tensors.items()}
    facts = {
        "dataset": dataset.name,
        "image_size": dataset.image_size,
        "split": ROLE,
        "split_hash": dataset.split(ROLE).content_hash,
        "trained_on": count,
        "recipe": recipe.model_dump(),
        "seed": seed,
        "train_loss": loss,
        "held_out_error": _error(kept, dataset, chosen[count:][:1_000]),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {"torch": version("torch")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _keep(path, kept, facts)


def _keep(path: Path, tensors: Autoencoder, facts: dict[str, Any]) -> Path:
    # The weights come last: whoever finds them, after a kill too, finds the facts that belong to them.
    write_text(path.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    return write_tensors(path, dict(tensors))


def _fit(
    tensors: dict[str, Tensor],
    dataset: Dataset,
    indices: list[int],
    recipe: AutoencoderRecipe,
    generator: torch.Generator,
) -> float:
    """Train in place; the mean loss of the last epoch."""
    optimizer = torch.optim.Adam(tensors.values(), lr=recipe.lr)
    steps = -(-len(indices) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps * recipe.epochs)
    device, total = next(iter(tensors.values())).device, 0.0
    title = f"autoencoder of {dataset.name}"
    with tqdm(total=steps * recipe.epochs, desc=title, unit="step", disable=not sys.stderr.isatty()) as bar:
        for epoch in range(1, recipe.epochs + 1):
            total = 0.0
            for pixels in _batches(dataset, indices, recipe, generator):
                noisy = pixels + recipe.noise * torch.randn(pixels.shape, generator=generator)
                loss = (reencoded(tensors, noisy.to(device)) - pixels.to(device)).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                total += float(loss.detach()) * len(pixels)
            if not total < float("inf"):
                raise AutoencoderError(f"{title} diverged; train with a lower learning rate")
            if bar.disable:
                loss_text = f"{total / len(indices):.5f}"
                print(f"{title}: epoch {epoch}/{recipe.epochs}, loss {loss_text}", file=sys.stderr, flush=True)
    return total / len(indices)


def _batches(
    dataset: Dataset, indices: list[int], recipe: AutoencoderRecipe, generator: torch.Generator
) -> Iterator[Tensor]:
    """One epoch of shuffled batches in [0, 1], images mirrored with probability a half."""
    order = torch.randperm(len(indices), generator=generator).tolist()
    for start in range(0, len(order), recipe.batch_size):
        pixels = dataset.split(ROLE).images([indices[place] for place in order[start : start + recipe.batch_size]])
        mirrored = torch.rand(len(pixels), generator=generator) < 0.5
        yield torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)


@torch.no_grad()
def _error(tensors: Autoencoder, dataset: Dataset, indices: list[int]) -> float:
    """Mean squared error of images without noise."""
    parts = [dataset.split(ROLE).images(indices[start : start + 100]) for start in range(0, len(indices), 100)]
    squares = [(reencoded(tensors, pixels) - pixels).square().mean(dim=(1, 2, 3)) for pixels in parts]
    return float(torch.cat(squares).mean())
