"""Networks of one's own: whatever constructor, heads, types and channels they have, they run or are one line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models import _registry as registry, register_model
from torch import Tensor, nn

from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.loading import load_victim
from gradinv.benchmark.victims.networks import VictimError
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.metrics.records.files import write_tensors

SIZE, CLASSES = 8, 4


class Net(nn.Module):
    """A small network with one peculiarity."""

    def __init__(self, way: str = "", classes: int = CLASSES, channels: int = 3) -> None:
        super().__init__()
        self.way = way
        self.body, self.head = nn.Conv2d(channels, 5, 3, stride=2, padding=1), nn.Linear(80, classes)
        self.hidden = nn.Linear(classes, classes)
        self.register_buffer("drawn", torch.randn(classes), persistent=False)
        self.computed = self.head.bias.detach().exp()
        self.steps = 0
        if way == "tied":
            self.last = nn.Linear(classes, classes)
            self.last.weight = self.hidden.weight

    def forward(self, x: Tensor) -> Any:
        features = self.body(x).sigmoid().flatten(1)
        logits = self.head(features)
        self.steps += 1
        ways: dict[str, Callable[[], Any]] = {
            "tuple": lambda: (logits, features),
            "dict": lambda: {"logits": logits},
            "softmax": lambda: logits.softmax(1),
            "log softmax": lambda: logits.log_softmax(1),
            "tied": lambda: self.last(self.hidden(logits).sigmoid()),
            "item": lambda: logits * (1.0 if features.sum().item() > -1e9 else 2.0),
            "random": lambda: logits + torch.randn_like(logits),
            "counting": lambda: logits + self.steps,
            "drawn": lambda: logits + self.drawn,
            "computed": lambda: logits + self.computed,
            "once": lambda: Once.apply(logits),
            "transposed": lambda: logits.T,
            "raising": lambda: {}["nothing"],
        }
        return ways.get(self.way, lambda: logits)()


class Once(torch.autograd.Function):
    """The identity, with a backward pass that cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@pytest.fixture
def register() -> Iterator[Callable[[Callable[..., Any]], str]]:
    """Registers a constructor with timm until the end of the test, and gives its name."""
    names = []

    def make(constructor: Callable[..., Any]) -> str:
        constructor.__name__ = f"own_network_{len(names)}"
        register_model(constructor)
        names.append(constructor.__name__)
        return constructor.__name__

    yield make
    for name in names:
        registry._model_entrypoints.pop(name, None)


def bare() -> Net:
    return Net()


def with_classes(num_classes: int) -> Net:
    return Net(classes=num_classes)


def with_pretrained(pretrained: bool = False, num_classes: int = CLASSES) -> Net:
    return Net(classes=num_classes)


def handed_on(pretrained: bool = False, **options: Any) -> Net:
    def inner(num_classes: int) -> Net:
        return Net(classes=num_classes)

    return inner(**options)


def open_ended(num_classes: int = CLASSES, **_: Any) -> Net:
    return Net(classes=num_classes)


@pytest.mark.parametrize("constructor", [bare, with_classes, with_pretrained, handed_on, open_ended])
def test_any_constructor_will_do(register, make_dataset, constructor: Callable[..., Net]) -> None:
    loaded = load_victim(VictimSpec(model=register(constructor), state="untrained"), make_dataset(size=SIZE))
    assert loaded.module(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, CLASSES)


@pytest.mark.parametrize("way", ["tied", "item"])
def test_tied_weights_and_steps_by_value_are_victims(register, make_dataset, tmp_path: Path, way: str) -> None:
    model, dataset = register(lambda **_: Net(way)), make_dataset(size=SIZE)
    loaded = load_victim(VictimSpec(model=model, state="untrained"), dataset)
    path = write_tensors(tmp_path / "mine.safetensors", loaded.module.state_dict())
    again = load_victim(VictimSpec(model=model, state="trained", weights=str(path), seed=3), dataset)
    assert again.weights_hash == loaded.weights_hash
    images, labels = torch.randn(2, 3, SIZE, SIZE), torch.tensor([0, 1])
    for one, other in zip(*(Victim(v.module).update(images, labels) for v in (loaded, again)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_logarithmic_softmax_at_the_end_changes_no_update(register, make_dataset) -> None:
    names = [register(lambda way=way, **_: Net(way)) for way in ("", "log softmax")]
    specs = [VictimSpec(model=name, state="untrained") for name in names]
    bare, ended = (load_victim(spec, make_dataset(size=SIZE)) for spec in specs)
    images, labels = torch.randn(2, 3, SIZE, SIZE), torch.tensor([0, 1])
    updates = [Victim(victim.module).update(images, labels) for victim in (bare, ended)]
    for one, other in zip(*updates, strict=True):
        torch.testing.assert_close(one, other)


def frozen(**_: Any) -> nn.Module:
    return Net().requires_grad_(False)


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "tuple": (lambda **_: Net("tuple"), r"its forward returns a tuple of 2 and not one tensor of logits .* register a"),
    "dict": (lambda **_: Net("dict"), "its forward returns a dict of 1 and not one tensor of logits"),
    "transposed": (lambda **_: Net("transposed"), r"its output has the shape \(4, 1\) and not \(1, 4\)"),
    "classes": (lambda **_: Net(classes=7), r"its output has the shape \(1, 7\) and not \(1, 4\)"),
    "float64": (lambda **_: Net().double(), r"its parameters are float64; .* return module\.float\(\)"),
    "half": (lambda **_: Net().half(), "its parameters are float16"),
    "grey": (lambda **_: Net(channels=1), r"images have 3 channels: .* images\.mean\(1, keepdim=True\)"),
    "frozen": (frozen, "every parameter of Net is frozen"),
    "no module": (lambda num_classes: [Net()], "list"),
    "raising": (lambda **_: Net("raising"), "cannot be built for 8 x 8 images: 'nothing'"),
    "constructor": (lambda **_: {}["depth"], "cannot be built for 8 x 8 images: 'depth'"),
    "missing argument": (lambda depth: Net(), "cannot be built .* missing 1 required .* 'depth'"),
    "softmax": (lambda **_: Net("softmax"), r"returns probabilities .* leave the softmax out"),
    "random": (lambda **_: Net("random"), "gives other logits for the same images"),
    "counting": (lambda **_: Net("counting"), "gives other logits for the same images"),
    "drawn": (lambda **_: Net("drawn"), "depends on more than its parameters and saved buffers"),
    "computed": (lambda **_: Net("computed"), "depends on more than its parameters and saved buffers"),
    "once": (lambda **_: Net("once"), "cannot be differentiated twice, as attacks do: "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_attacked_is_one_line_that_names_the_model(register, make_dataset, kind: str) -> None:
    constructor, line = REFUSED[kind]
    model = register(constructor)
    with pytest.raises(VictimError, match=line) as caught:
        load_victim(VictimSpec(model=model, state="untrained"), make_dataset(size=SIZE))
    assert "\n" not in str(caught.value)
    assert model in str(caught.value)


def test_frozen_parts_are_not_counted_as_without_gradient(register, make_dataset) -> None:
    def half_frozen(**_: Any) -> nn.Module:
        network = Net()
        network.body.requires_grad_(False)
        return network

    loaded = load_victim(VictimSpec(model=register(half_frozen), state="untrained"), make_dataset(size=SIZE))
    hidden, head = CLASSES * CLASSES + CLASSES, 81 * CLASSES  # `hidden` is not called, `body` is not trained
    assert loaded.zero_gradient_share == pytest.approx(hidden / (hidden + head))
    assert Victim(loaded.module).parameter_names == ["head.weight", "head.bias", "hidden.weight", "hidden.bias"]
