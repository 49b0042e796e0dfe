"""What the layers of a network see and return in one pass: by which attacks that solve tell where they may."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class LayerCall(NamedTuple):
    """One call of a layer: copies of its first input and of its output, empty where they are no tensors."""

    layer: nn.Module
    inputs: Tensor
    output: Tensor


@torch.no_grad()
def layer_calls(network: nn.Module, images: Tensor) -> tuple[list[LayerCall], Tensor]:
    """Every call of a layer without parts in one pass, in order, and the logits.

    >>> calls, logits = layer_calls(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.ones(1, 1, 2, 2))
    >>> [type(call.layer).__name__ for call in calls], torch.equal(calls[-1].output, logits)
    (['Flatten', 'Linear'], True)
    """
    calls: list[LayerCall] = []
    inputs_of: dict[nn.Module, Tensor] = {}

    def before(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        # Now, for an activation in place changes it. A layer may be called by keyword, or with what is no tensor.
        inputs_of[layer] = _copied(inputs[0] if inputs else None)

    def after(layer: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        calls.append(LayerCall(layer, inputs_of[layer], _copied(output)))

    # What a container does beside its parts shows where an input is not the output of the call before.
    leaves = [layer for layer in network.modules() if not list(layer.children())]
    handles = [layer.register_forward_pre_hook(before) for layer in leaves]
    handles += [layer.register_forward_hook(after) for layer in leaves]
    try:
        return calls, network(images)
    finally:
        for handle in handles:
            handle.remove()


def _copied(value: Any) -> Tensor:
    """A copy of a tensor; of anything else an empty one, which is no other layer's input."""
    return value.clone() if isinstance(value, Tensor) else torch.empty(0)
