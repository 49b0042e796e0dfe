"""The fully connected layer that sees the pixels themselves: found by its input, never by its name or its place."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.layer_calls import layer_calls
from gradinv.metrics.registry import RequestError


class NoFirstLayerError(RequestError):
    """A network that does not begin with a fully connected layer on the pixels; its text says with what it does."""


@dataclass(frozen=True)
class FirstLayer:
    """A linear layer whose input is the flattened image as the victim sees it, and the names of its parameters."""

    module: nn.Linear
    weight: str
    bias: str


@torch.no_grad()
def find_first_layer(network: nn.Module, image_shape: tuple[int, int, int]) -> FirstLayer:
    """The layer, for images (C, H, W); NoFirstLayerError in one line where a network has none that can be read.

    It has a bias, is called once a pass, its parameters are its own and trained. What comes after it may be anything.
    """
    parameter = next(network.parameters())
    # Normal numbers and not pixels: a ReLU or a clamp before the layer would leave pixels as they are.
    images = torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    calls: dict[nn.Module, list[Tensor]] = {}
    for layer, inputs, _ in layer_calls(network, images)[0]:
        if list(layer.parameters()):
            calls.setdefault(layer, []).append(inputs)
    names = {module: name for name, module in network.named_modules()}
    seeing = [layer for layer, inputs in calls.items() if isinstance(layer, nn.Linear) and _is_image(inputs[0], images)]
    if not seeing:
        first = next(iter(calls), None)
        begins = "has no layer" if first is None else f"begins with {type(first).__name__} {names[first]}"
        raise NoFirstLayerError(
            f"needs a fully connected layer that sees the pixels themselves; {type(network).__name__} {begins}"
        )
    layer = seeing[0]
    fault = _fault(network, layer, calls[layer])
    if fault:
        raise NoFirstLayerError(f"the first fully connected layer, {names[layer]}, {fault}")
    prefix = f"{names[layer]}." if names[layer] else ""
    return FirstLayer(layer, f"{prefix}weight", f"{prefix}bias")


def reason_without_first_layer(conditions: Conditions) -> str | None:
    """Why no layer of the victim can be read in this way, in one line; None where one can, or nobody knows."""
    if conditions.network is None:
        return None
    try:
        find_first_layer(conditions.network, conditions.image_shape)
    except NoFirstLayerError as error:
        return str(error)
    return None


def reason_of_mixing(conditions: Conditions) -> str | None:
    """Why an image cannot be passed through the victim by itself; None where it can."""
    if conditions.bn_layers and conditions.threat_model.bn_mode == "train":
        return "batch norm in train mode mixes the images of a batch, and a certificate needs them one by one"
    return None


def is_rectified(network: nn.Module, layer: FirstLayer, image_shape: tuple[int, int, int]) -> bool:
    """Whether a ReLU follows the layer: on random images (C, H, W) a neuron that is off has no gradient."""
    parameter = next(network.parameters())
    images = torch.randn(8, *image_shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    with cut_at(layer, network, images) as (outputs, logits):
        gradients = torch.autograd.grad(logits.square().sum(), outputs)[0]
    return bool(((gradients == 0) | (outputs > 0)).all() and gradients.any() and (outputs <= 0).any())


@contextmanager
def cut_at(layer: FirstLayer, network: nn.Module, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The layer's outputs (N, m), to be differentiated for, and the logits that follow from them, for these images.

    No gradient of a parameter is taken: nothing of it counts as an evaluation.
    """
    kept: list[Tensor] = []

    def cut(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_(True))
        return kept[0].clone()  # an activation in place may change it

    handle = layer.module.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = network(images)
        yield kept[0], logits
    finally:
        handle.remove()


def _is_image(inputs: Tensor, images: Tensor) -> bool:
    flat = images.flatten(1)
    return inputs.shape == flat.shape and torch.equal(inputs, flat)


def _fault(network: nn.Module, layer: nn.Linear, inputs: list[Tensor]) -> str:
    """Why what is sent of the layer does not tell its input; empty where it does."""
    owners = Counter(id(parameter) for part in network.modules() for parameter in part._parameters.values())
    if layer.bias is None:
        return "has no bias, whose gradient the attack divides by"
    if not (layer.weight.requires_grad and layer.bias.requires_grad):
        return "is frozen and not sent"
    if len(inputs) > 1 or owners[id(layer.weight)] > 1 or owners[id(layer.bias)] > 1:
        return "is called more than once or shares its parameters"
    return ""
