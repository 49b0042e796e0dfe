"""The fully connected layer that sees the pixels themselves: found by its input, never by its name or its place."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
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
    calls = _calls(network, images)
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
        find_first_layer(conditions.network, (3, conditions.image_size, conditions.image_size))
    except NoFirstLayerError as error:
        return str(error)
    return None


def _calls(network: nn.Module, images: Tensor) -> dict[nn.Module, list[Tensor]]:
    """The inputs of every layer with parameters of its own in one pass, layers in the order of their first call."""
    calls: dict[nn.Module, list[Tensor]] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        # A layer may be called by keyword, or with what is no tensor: then it does not see the image itself.
        seen = inputs[0].clone() if inputs and isinstance(inputs[0], Tensor) else images[:0]
        calls.setdefault(layer, []).append(seen)

    layers = [layer for layer in network.modules() if not list(layer.children()) and list(layer.parameters())]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


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
