"""A network as a chain of layers that can be walked back: convolutions, invertible activations, one linear layer."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradinv.attacks.exact.layer_calls import LayerCall, layer_calls
from gradinv.metrics.registry import RequestError

PASSING = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers that change no number of a client in eval mode."""


class NoChainError(RequestError):
    """A network that is no such chain; its text is the reason in one line."""


@dataclass(frozen=True)
class Convolution:
    """A convolution, the names of its parameters, and the shape (C, H, W) of its input."""

    module: nn.Conv2d
    weight: str
    input_shape: tuple[int, int, int]

    @property
    def equations(self) -> int:
        """How many equations it gives for its input: one an output, one a weight."""
        channels, height, width = self.input_shape
        outputs = self.module(torch.zeros(1, channels, height, width).to(self.module.weight)).numel()
        return outputs + self.module.weight.numel()

    @property
    def unknowns(self) -> int:
        """Numbers of its input."""
        channels, height, width = self.input_shape
        return channels * height * width


@dataclass(frozen=True)
class Chain:
    """Convolutions from the image up, each with the activations after it, and the linear layer on top."""

    convolutions: tuple[tuple[Convolution, tuple[nn.Module, ...]], ...]
    head: nn.Linear
    head_weight: str
    head_bias: str


Inverse = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]
"""(activation, its output) -> its input, and its derivative there."""


def _leaky(layer: nn.Module, output: Tensor) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.LeakyReLU)
    # Of the output's own type: 0.2 in single precision is not 0.2.
    slope = torch.where(output < 0, output.new_tensor(layer.negative_slope), output.new_ones(()))
    return output / slope, slope


def _sigmoid(layer: nn.Module, output: Tensor) -> tuple[Tensor, Tensor]:
    # A saturated unit rounds to 0 or 1, whose inverse is infinite and would spoil the whole layer's solution.
    inside = output.clamp(1e-15, 1 - 1e-15)
    return inside.logit(), inside * (1 - inside)


def _tanh(layer: nn.Module, output: Tensor) -> tuple[Tensor, Tensor]:
    # As of a sigmoid: the inverse of a saturated unit would be infinite.
    inside = output.clamp(-1 + 1e-15, 1 - 1e-15)
    return inside.atanh(), 1 - inside.square()


INVERSES: dict[type[nn.Module], Inverse] = {nn.LeakyReLU: _leaky, nn.Sigmoid: _sigmoid, nn.Tanh: _tanh}


@torch.no_grad()
def find_chain(network: nn.Module, image_shape: tuple[int, int, int]) -> Chain:
    """The chain of a network for images (C, H, W); NoChainError with the reason where it is none.

    Each layer's input must be the output of the one before to the bit, the first one's the image.
    """
    parameter = next(network.parameters())
    images = torch.rand(1, *image_shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    calls, logits = layer_calls(network, images)
    names = {module: name for name, module in network.named_modules()}
    _require_links(calls, images, logits, names)
    return _chain(calls, names)


def _require_links(calls: list[LayerCall], images: Tensor, logits: Tensor, names: dict[nn.Module, str]) -> None:
    """NoChainError where something that is no layer stands between two, or a layer is called twice."""
    # To the bit: an addition, a reshape or a skip between two layers shows as a difference, whatever `forward` says.
    before = images
    for layer, inputs, output in calls:
        if before.numel() != inputs.numel() or not torch.equal(before.flatten(), inputs.flatten()):
            raise NoChainError(f"the input of {names[layer]} is not the output of the layer before: no plain chain")
        before = output
    if len({layer for layer, _, _ in calls}) < len(calls) or not torch.equal(before.flatten(), logits.flatten()):
        raise NoChainError("its layers are called more than once, or its logits are not the last one's output")


def _is_plain(layer: nn.Conv2d) -> bool:
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _chain(calls: list[LayerCall], names: dict[nn.Module, str]) -> Chain:
    convolutions: list[tuple[Convolution, list[nn.Module]]] = []
    *body, (head, _, _) = [call for call in calls if not isinstance(call[0], PASSING)]
    if not isinstance(head, nn.Linear):
        raise NoChainError(f"it ends with {type(head).__name__} and not with a linear layer")
    for layer, inputs, _ in body:
        if isinstance(layer, nn.Conv2d) and _is_plain(layer):
            shape = (inputs.shape[1], inputs.shape[2], inputs.shape[3])
            convolutions.append((Convolution(layer, f"{names[layer]}.weight", shape), []))
        elif type(layer) in INVERSES and getattr(layer, "negative_slope", 1.0) != 0 and convolutions:
            # A leaky ReLU of slope 0 is none of these: it is a ReLU, and what was negative is gone.
            convolutions[-1][1].append(layer)
        else:
            raise NoChainError(f"{type(layer).__name__} {names[layer]} cannot be walked back")
    if not convolutions:
        raise NoChainError("it has no convolution")
    return Chain(
        tuple((convolution, tuple(activations)) for convolution, activations in convolutions),
        head,
        f"{names[head]}.weight",
        f"{names[head]}.bias" if head.bias is not None else "",
    )
