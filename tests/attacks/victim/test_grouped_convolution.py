"""Grouped convolutions: torch's values and derivatives, in far fewer operations."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradinv.attacks.victim import Victim
from gradinv.attacks.victim.grouped_convolution import grouped_convolutions

KINDS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "depthwise": (nn.Conv2d, {"groups": 4, "padding": 1}),
    "multiplier": (nn.Conv2d, {"groups": 4, "out": 8, "padding": (1, 2)}),
    "groups": (nn.Conv2d, {"groups": 2, "out": 6, "stride": 2, "bias": False}),
    "dilated": (nn.Conv2d, {"groups": 2, "dilation": 2, "padding": 2}),
    "text": (nn.Conv2d, {"groups": 4, "padding": "same"}),
    "reflect": (nn.Conv2d, {"groups": 4, "padding": 1, "padding_mode": "reflect"}),
    "no groups": (nn.Conv2d, {"groups": 1, "padding": 1}),
    "sequence": (nn.Conv1d, {"groups": 4, "padding": 1}),
    "volume": (nn.Conv3d, {"groups": 2, "stride": (1, 2, 1)}),
}
SIZES = {nn.Conv1d: (7,), nn.Conv2d: (5, 6), nn.Conv3d: (4, 5, 3)}


def layer_and_input(kind, dtype=torch.float64):
    maker, options = KINDS[kind][0], dict(KINDS[kind][1])
    torch.manual_seed(0)
    layer = maker(4, options.pop("out", 4), 3, **options).to(dtype)
    return layer, torch.randn(2, 4, *SIZES[maker], dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_are_those_of_finite_differences(kind):
    layer, images = layer_and_input(kind)
    tensors = [images.requires_grad_(), *layer.parameters()]

    def output(images, *_):
        with grouped_convolutions(layer):
            return layer(images)

    assert torch.autograd.gradcheck(output, tensors)
    assert torch.autograd.gradgradcheck(output, tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_torch(kind):
    layer, images = layer_and_input(kind, torch.float32)
    with grouped_convolutions(layer):
        output = layer(images)
    torch.testing.assert_close(output, layer(images))


class Calls(TorchDispatchMode):
    """Counts operations."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def objective_gradient(victim, images):
    images = images.clone().requires_grad_()
    update = victim.update(images, torch.arange(len(images)))
    return torch.autograd.grad(sum((1.1 * value - value.detach()).square().sum() for value in update), [images])[0]


@pytest.mark.parametrize("model", ["mobilenetv2_050", "tf_efficientnet_lite0"])
def test_a_depthwise_network_has_the_same_gradient_to_the_bit_in_a_fraction_of_the_calls(model, monkeypatch):
    torch.manual_seed(0)
    network, images = timm.create_model(model, num_classes=10).eval(), torch.randn(2, 3, 32, 32)
    victim = Victim(network)
    monkeypatch.setattr("gradinv.attacks.victim.network.grouped_convolutions", lambda _: nullcontext())
    plain = Victim(network)
    with Calls() as grouped:
        gradient = objective_gradient(victim, images)
    with Calls() as one_by_one:
        expected = objective_gradient(plain, images)
    assert torch.equal(gradient, expected)
    assert grouped.count < one_by_one.count / 3


class Small(nn.Sequential):
    """A network with a depthwise layer and one in groups, without ReLU."""

    def __init__(self):
        depthwise, grouped = nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 4, 3, groups=2)
        body = nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), depthwise, nn.Sigmoid(), grouped
        super().__init__(*body, nn.Flatten(), nn.Linear(36, 4))


def test_candidates_together_have_the_gradients_that_each_has_alone(monkeypatch):
    torch.manual_seed(0)
    network, labels = Small().double(), torch.tensor([1, 2])
    candidates = torch.randn(3, 2, 3, 7, 7, dtype=torch.float64)

    def objective(victim, images):
        gradients, _ = victim.functional_update(images, labels, victim.state, {})
        return sum(value.square().sum() for value in gradients)

    together = torch.func.vmap(torch.func.grad(partial(objective, Victim(network))))(candidates)
    monkeypatch.setattr("gradinv.attacks.victim.network.grouped_convolutions", lambda _: nullcontext())
    alone = torch.func.grad(partial(objective, Victim(network)))
    torch.testing.assert_close(together, torch.stack([alone(images) for images in candidates]))


def test_a_network_without_groups_is_called_as_it_is():
    assert isinstance(grouped_convolutions(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 4))), nullcontext)
