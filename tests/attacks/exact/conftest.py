"""Fixtures for exact attacks: photographs, leaks of the literature's networks, and what of a batch was found."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset, draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.image_size import ImageSize


@dataclass(frozen=True)
class Private:
    """A batch of photographs (B, 3, H, W) in [0, 1] with its labels, what was sent of it, and the victim."""

    images: Tensor
    labels: Tensor
    leak: Leak
    victim: Victim

    def defended(self, defense: str) -> Leak:
        """The leak of a client with this defense."""
        sent = create_defense(defense).on_update(dict(self.leak.gradients), torch.Generator().manual_seed(0))
        return replace(self.leak, gradients=sent)

    def distances(self, result: Reconstruction) -> Tensor:
        """Of each image found, the l2 distance to the nearest of the batch's, in pixel values."""
        found = result.images if result.filled is None else result.images[result.filled]
        return (found[:, None].double() - self.images[None].double()).flatten(2).norm(dim=2).min(1).values

    def psnr(self, result: Reconstruction) -> float:
        """Of the only image, in dB; not clamped."""
        return float(-10 * (result.images.double() - self.images.double()).square().mean().log10())


def leak_of(module: nn.Module, images: Tensor, labels: Tensor, classes: int = 10) -> Leak:
    """By plain autograd, in the network's precision, labels withheld."""
    parameters = dict(module.named_parameters())
    images = images.to(next(iter(parameters.values())))
    gradients = torch.autograd.grad(nn.functional.cross_entropy(module(images), labels), list(parameters.values()))
    precision = str(images.dtype).removeprefix("torch.")
    return Leak(
        gradients=dict(zip(parameters, gradients, strict=True)),
        batch_size=len(images),
        image_shape=tuple(images.shape[1:]),
        num_classes=classes,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        threat_model=ThreatModel(labels="none", client_precision=precision),
    )


@pytest.fixture(scope="session")
def private() -> Callable[..., Private]:
    """`private(model, batch=1, repetition=0, seed=0, dtype=torch.float64, size=32)`: photographs."""

    def make(
        model: str | nn.Module,
        batch: int = 1,
        *,
        repetition: int = 0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        size: ImageSize = 32,
    ) -> Private:
        torch.set_num_threads(1)
        module = model
        if isinstance(model, str):
            module = build_network(model, num_classes=10, image_size=size, seed=seed, untrained=True)
        module = module.to(dtype)
        images = draw_batch(
            create_dataset("photos", size), repetition=repetition, batch_size=batch, max_equal_labels=batch
        ).images
        labels = torch.randint(10, (batch,), generator=torch.Generator().manual_seed(repetition))
        return Private(images, labels, leak_of(module, images, labels), Victim(module))

    return make
