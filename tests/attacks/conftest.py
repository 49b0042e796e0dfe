"""Fixtures for the attacks' tests: a small smooth network, images, leaks made without the benchmark, real victims."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.variables import Evaluated, Given
from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.networks import build_network

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


class SmallNet(nn.Module):
    """Two convolutions with sigmoids, then a linear layer; batch norm after each where `bn`.

    Everything is smooth, so that finite differences hold. The second batch norm is registered first: the order of the
    modules is not the order of the calls.
    """

    def __init__(self, classes: int, bn: bool) -> None:
        super().__init__()
        self.late = nn.BatchNorm2d(4) if bn else nn.Identity()
        self.early = nn.BatchNorm2d(5) if bn else nn.Identity()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * 3 * 3, classes)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        x = self.early(self.first(x)).sigmoid()
        return self.head(self.late(self.second(x)).sigmoid().flatten(1))


def _grant(module: nn.Module, images: Tensor, statistics: str) -> tuple[tuple[Tensor, Tensor], ...] | None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    if statistics == "none":
        return None
    if statistics == "running":
        return tuple((layer.running_mean.clone(), layer.running_var.clone()) for layer in layers)
    return Victim(module).bn_statistics(images)


@dataclass(frozen=True)
class Evaluation:
    """One call of the objective: copies of what it was called with, and its value."""

    images: Tensor
    labels: Tensor
    value: float


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Equal bits are promised for equal numbers of threads."""
    torch.set_num_threads(1)


@pytest.fixture
def make_net() -> Callable[..., nn.Module]:
    """`make_net(bn=True, classes=5, seed=0, dtype=torch.float32)`: a SmallNet for 6x6 images, all weights random."""

    def make(*, bn: bool = True, classes: int = 5, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        net = SmallNet(classes, bn).to(dtype).eval()
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=dtype) * 0.5)
                if name.endswith("running_var"):
                    value.abs_().add_(0.3)
        return net

    return make


@pytest.fixture
def make_images() -> Callable[..., Tensor]:
    """`make_images(batch, size=6, seed=0, dtype=torch.float32)`: standard normal (B, 3, size, size)."""

    def make(batch: int, *, size: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return make


@pytest.fixture
def make_leak() -> Callable[..., Leak]:
    """`make_leak(module, images, labels, granted="known", statistics="none")`: by plain autograd, eval mode."""

    def make(
        module: nn.Module, images: Tensor, labels: Tensor, *, granted: str = "known", statistics: str = "none"
    ) -> Leak:
        named = dict(module.named_parameters())
        logits = module(images)
        gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), list(named.values()))
        return Leak(
            gradients=dict(zip(named, gradients, strict=True)),
            batch_size=len(images),
            image_shape=tuple(images.shape[1:]),
            num_classes=logits.shape[1],
            mean=MEAN,
            std=STD,
            threat_model=ThreatModel(labels=granted, bn_statistics=statistics),
            labels={"none": None, "known": labels, "counts": labels.sort().values}[granted],
            bn_statistics=_grant(module, images, statistics),
        )

    return make


@pytest.fixture(scope="session")
def build() -> Callable[..., nn.Module]:
    """`build(model, classes=10, size=16, seed=0)`: an untrained victim of the benchmark, in eval mode."""

    def make(model: str, *, classes: int = 10, size: int = 16, seed: int = 0) -> nn.Module:
        return build_network(model, num_classes=classes, image_size=size, seed=seed, untrained=True)

    return make


@pytest.fixture
def case(make_net: Callable, make_images: Callable, make_leak: Callable) -> Callable[..., tuple[Leak, Victim]]:
    """`case(granted="known", statistics="exact", batch=2, bn=True)`: a leak of distinct labels and its victim."""

    def make(
        *, granted: str = "known", statistics: str = "exact", batch: int = 2, bn: bool = True
    ) -> tuple[Leak, Victim]:
        net = make_net(bn=bn)
        labels = torch.tensor([3, 1, 4, 0, 2])[:batch]
        return make_leak(net, make_images(batch, seed=9), labels, granted=granted, statistics=statistics), Victim(net)

    return make


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Evaluation]:
    """Every evaluation of an objective in this test, in order."""
    calls: list[Evaluation] = []
    original = Objective.evaluate

    def spy(self: Objective, candidate: Sequence[Tensor], given: Given) -> Evaluated:
        evaluated = original(self, candidate, given)
        labels = given["labels"][0] if given["labels"] else candidate[1].detach().softmax(dim=-1)
        calls.append(Evaluation(candidate[0].detach().clone(), labels.clone(), evaluated.value.item()))
        return evaluated

    monkeypatch.setattr(Objective, "evaluate", spy)
    return calls
