"""The problem that all systems are given: a network, a private batch, its gradients and a start."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradinv.benchmark.victims.networks import build_network

MEAN, STD = (0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616)  # CIFAR-10
CLASSES = 10
Engine = Literal["eager", "captured", "compiled"]
ATTACKS = ("inverting_gradients", "gradinversion", "dlg")
LBFGS_EVALUATIONS = 20
"""Evaluations that one L-BFGS step of DLG makes at most, in both systems."""


@dataclass(frozen=True)
class Case:
    """What a measurement is about; `size` in pixels, `parameters` are those of our attack's key."""

    attack: str
    model: str
    batch: int
    size: int = 32
    seed: int = 0
    device: str = "cpu"
    engine: Engine = "eager"
    parameters: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The case as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Problem:
    """One client update to invert, on the device.

    `gradients` are those of the mean cross-entropy in eval mode. `start` holds the first candidate, (B, C, H, W), and
    for DLG the first label logits, (B, classes).
    """

    case: Case
    network: nn.Module
    images: Tensor
    labels: Tensor
    gradients: list[Tensor]
    start: list[Tensor]

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return torch.device(self.case.device)

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch-norm prior is possible."""
        return any(isinstance(layer, _BatchNorm) for layer in self.network.modules())

    def digest(self) -> str:
        """A hash of weights, batch and start. The gradients follow from these, up to rounding."""
        found = hashlib.sha256()
        for tensor in [*self.network.state_dict().values(), self.images, self.labels, *self.start]:
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


def make_problem(case: Case) -> Problem:
    """The problem of a case; every process that makes it gets the same one."""
    device = torch.device(case.device)
    network = build_network(case.model, num_classes=CLASSES, image_size=case.size, seed=case.seed, untrained=True)
    network = network.to(device).eval()
    generator = torch.Generator().manual_seed(case.seed + 1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    images = ((torch.rand(case.batch, 3, case.size, case.size, generator=generator) - mean) / std).to(device)
    labels = (torch.arange(case.batch) % CLASSES).to(device)
    loss = nn.functional.cross_entropy(network(images), labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    start = [tensor.to(device) for tensor in _start(case)]
    return Problem(case, network, images, labels, [gradient.detach() for gradient in gradients], start)


def _start(case: Case) -> list[Tensor]:
    """Where our attacks start with the case's seed: normal draws, inside the pixel box for all but DLG."""
    generator = torch.Generator().manual_seed(case.seed)
    images = torch.randn(case.batch, 3, case.size, case.size, generator=generator)
    if case.attack == "dlg":
        return [images, torch.randn(case.batch, CLASSES, generator=generator)]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return [torch.clamp(images, -mean / std, (1 - mean) / std)]
