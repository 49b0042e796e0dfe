"""Training a victim, and keeping it: one safetensors file with its recipe and accuracy in a JSON file beside it."""

import hashlib
import json
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from gradinv.benchmark.datasets import Dataset, Split, seed_of
from gradinv.benchmark.machine import victims_root
from gradinv.benchmark.victims.networks import VictimError, build_network
from gradinv.benchmark.victims.normalisation import Normalisation, normalisation_of, normalise
from gradinv.benchmark.victims.recipe import Recipe
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.metrics.records import require_folder, short_name, write_tensors, write_text

PACKAGES = ("torch", "torchvision", "timm", "numpy")


class Training(Recipe):
    """A recipe and for how many epochs it is followed."""

    epochs: int = Field(ge=1)


def default_epochs(images: int) -> int:
    """Epochs for so many training images: more for small sets, so that each is trained to a useful accuracy.

    >>> [default_epochs(n) for n in (2_000, 50_000, 100_000)]
    [30, 8, 4]
    """
    if images <= 20_000:
        return 30
    return 8 if images <= 60_000 else 4


def training_of(spec: VictimSpec, dataset: Dataset) -> Training:
    """A victim's training: one epoch for state early, else what it asks for, else what the data's size asks for."""
    epochs = 1 if spec.state == "early" else spec.epochs or default_epochs(len(dataset.split("train")))
    return Training(epochs=epochs, **({} if spec.recipe is None else spec.recipe.changes))


def victim_path(spec: VictimSpec, dataset: Dataset) -> Path:
    """Where the trained victim is kept: its name carries the hash of everything that shapes it."""
    # The training holds the epochs, and a victim that has a weight file is never trained.
    shaping = {
        "spec": spec.model_dump(exclude={"epochs", "recipe", "weights"}),
        "dataset": dataset.name,
        "image_size": dataset.image_size,
        "train": dataset.split("train").content_hash,
        "recipe": training_of(spec, dataset).model_dump(),
    }
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]
    return victims_root() / f"{short_name(f'{spec.model}-{dataset.name}')}-{digest}.safetensors"


def needs_training(spec: VictimSpec, dataset: Dataset) -> bool:
    """Whether a victim is trained by gradinv and the cache does not have it yet."""
    if spec.state not in ("early", "trained") or spec.weights is not None:
        return False
    return not victim_path(spec, dataset).is_file()


def train_victim(
    spec: VictimSpec,
    dataset: Dataset,
    *,
    rounds: Collection[int] = (),
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Train a victim on the train images and keep it; returns the path of its weights.

    `load_victim` finds it there. What the training has come to after each of `rounds` (epochs) is kept too, whatever
    round `spec` itself is of. Seeded: on a CPU with as many threads the same weights to the bit. An existing file is
    replaced. Raises DataError where there are no train images, VictimError where training diverges.
    """
    training, spec = training_of(spec, dataset), spec.model_copy(update={"round": None})
    path = victim_path(spec, dataset)
    require_folder(path.parent, "the folder of trained victims (GRADINV_CACHE)")  # before hours of training
    normalisation = normalisation_of(spec.model, dataset)
    network = build_network(
        spec.model,
        num_classes=len(dataset.classes),
        image_size=dataset.image_size,
        channels=dataset.channels,
        stem=spec.stem,
        seed=spec.seed,
        untrained=True,
    ).to(device)
    with torch.random.fork_rng():  # the devices' generators too: dropout on a GPU draws from them
        torch.manual_seed(seed_of("training", spec.seed))
        title = f"training {spec.model} on {dataset.name}"
        fitting = _fit(network, dataset.split("train"), normalisation, training, title=title, progress=progress)
        for epoch, loss in fitting:
            stages = [spec.model_copy(update={"round": epoch})] if epoch in rounds else []
            stages += [spec] if epoch == training.epochs else []
            if stages:
                facts = _facts_of_training(dataset, training, loss, _judged(network, normalisation, dataset))
                facts |= {"device": device, "threads": torch.get_num_threads()}
                for stage in stages:
                    _keep(victim_path(stage, dataset), network, {"spec": stage.model_dump(), **facts})
    return path


def _judged(network: nn.Module, normalisation: Normalisation, dataset: Dataset) -> dict[Any, float]:
    """The share of the images of each held-out role that the network classifies correctly."""
    network.eval()
    return {role: correct_share(network, normalisation, dataset.split(role)) for role in ("tuning", "evaluation")}


def _fit(
    network: nn.Module, split: Split, normalisation: Normalisation, training: Training, *, title: str, progress: bool
) -> Iterator[tuple[int, float | None]]:
    """Train in place; after each epoch its number and mean loss, and before the first 0 and no loss."""
    network.to(memory_format=torch.channels_last)  # the layout in which convolutions on a CPU are fastest
    # Of fewer images than a batch has, one step takes all.
    steps = max(1, len(split) // training.batch_size)
    optimizer = _optimizer(network, training)
    # The momentum stays as the recipe says; OneCycleLR would move it against the learning rate.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=training.lr, total_steps=steps * training.epochs, pct_start=0.3, cycle_momentum=False
    )
    shown = progress and sys.stderr.isatty()
    yield 0, None
    with tqdm(total=steps * training.epochs, desc=title, unit="step", disable=not shown) as bar:
        for epoch in range(1, training.epochs + 1):
            network.train()  # whoever was handed the last epoch may have judged it
            # Summed where the network is: reading each step's loss would make a GPU wait for the host.
            total = torch.zeros((), device=next(network.parameters()).device)
            for images, labels in _batches(split, training, steps, normalisation):
                total += _step(network, optimizer, images, labels, training.precision)
                schedule.step()
                bar.update()
            mean_loss = _checked(float(total) / steps, title)
            bar.set_postfix(epoch=epoch, loss=f"{mean_loss:.3f}")
            if progress and not shown:
                print(f"{title}: epoch {epoch}/{training.epochs}, loss {mean_loss:.3f}", file=sys.stderr, flush=True)
            yield epoch, mean_loss


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), betas=(recipe.momentum, 0.999), **options)
    # Nesterov's only with a momentum: PyTorch refuses it without.
    return torch.optim.SGD(network.parameters(), momentum=recipe.momentum, nesterov=recipe.momentum > 0, **options)


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, precision: str
) -> Tensor:
    device = next(network.parameters()).device
    images = images.to(device, memory_format=torch.channels_last)
    # bfloat16 has float32's range, so that the loss needs no scaling.
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = network(images)
    loss = nn.functional.cross_entropy(logits.float(), labels.to(device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _checked(loss: float, title: str) -> float:
    if not np.isfinite(loss):
        raise VictimError(f"{title} diverged (loss {loss}); train with a lower learning rate")
    return loss


def _batches(split: Split, recipe: Recipe, steps: int, normalisation: Normalisation) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented, normalised batches; the incomplete last one is left out."""
    order = torch.randperm(len(split))
    labels = torch.from_numpy(split.labels)
    for step in range(steps):
        chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        images = augment(split.images(chosen.tolist()), recipe)
        yield normalise(images, *normalisation), labels[chosen]


def augment(images: Tensor, recipe: Recipe) -> Tensor:
    """Images (n, 3, H, W), each mirrored with probability a half and shifted at random, by torch's global generator."""
    count, _, height, width = images.shape
    if recipe.flip:
        mirrored = torch.rand(count) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    reach = round(recipe.shift * height)
    if reach == 0:
        return images
    padded = nn.functional.pad(images, (reach, reach, reach, reach))
    top, left = torch.randint(0, 2 * reach + 1, (2, count, 1))
    # Each image's own window of the padded images, cut out of all of them by one indexing (which wants channels last).
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    image = torch.arange(count)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def correct_share(
    network: nn.Module, normalisation: Normalisation, split: Split, *, at_most: int | None = None
) -> float:
    """Share of the split's images, in [0, 1], that the network classifies correctly; of `at_most` so many, evenly."""
    device = next(network.parameters()).device
    # Evenly, because splits come class by class.
    every = np.arange(len(split))
    judged = every if at_most is None else np.unique(np.linspace(0, len(split) - 1, at_most).round().astype(int))
    correct = 0
    with torch.no_grad():
        for start in range(0, len(judged), 256):
            chosen = judged[start : start + 256].tolist()
            predicted = network(normalise(split.images(chosen), *normalisation).to(device)).argmax(1).cpu()
            correct += int((predicted == torch.from_numpy(split.labels[chosen])).sum())
    return correct / len(judged)


def _facts_of_training(
    dataset: Dataset, training: Training, loss: float | None, correct: dict[Any, float]
) -> dict[str, Any]:
    """What stands beside the weights: how they were made, and how accurate they are (shares in [0, 1])."""
    sizes = {role: len(dataset.split(role)) for role in correct}
    return {
        "recipe": training.model_dump(),
        "dataset": dataset.name,
        "image_size": dataset.image_size,
        "classes": dataset.classes,
        "accuracy": sum(correct[role] * sizes[role] for role in correct) / sum(sizes.values()),
        "accuracy_by_role": correct,
        "train_loss": loss,
        "data_hashes": {role: dataset.split(role).content_hash for role in ("train", *correct)},
        "versions": {package: version(package) for package in PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _keep(path: Path, network: nn.Module, training: dict[str, Any]) -> None:
    """Write the weights, with the facts of the training in a JSON file beside them."""
    # The weights come last: whoever finds them, after a kill too, finds the facts that belong to them.
    write_text(path.with_suffix(".json"), json.dumps(training, indent=2) + "\n")
    write_tensors(path, network.state_dict())
