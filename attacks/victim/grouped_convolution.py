"""Convolutions in groups whose second derivative is as fast as their first.

torch takes the second derivative of a grouped convolution one group after another: hundreds of small convolutions for
each depthwise layer. The convolution is linear in its input and in its weight, so that every derivative of every order
is one of three operations, each of which torch has for all groups at once.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


class Geometry(NamedTuple):
    """Stride, padding and dilation of each dimension, and the number of groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def grouped_convolutions(network: nn.Module) -> AbstractContextManager[object]:
    """A block in which the network's grouped convolutions are those of this file; nothing changes for one without any.

    It may be entered as often as one likes.

    >>> grouped_convolutions(nn.Conv2d(4, 4, 3))
    <contextlib.nullcontext object at ...>
    """
    has_groups = any(getattr(layer, "groups", 1) != 1 for layer in network.modules())
    return _GroupedConvolutions() if has_groups else nullcontext()


class _GroupedConvolutions(TorchFunctionMode):
    # Functions, not layers: timm's layers with padding or weights of their own call torch's function themselves.
    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS:
            return _convolution(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolution(
    function: Any,
    input: Tensor,  # noqa: A002 - the names of torch.conv2d, which may be called by name
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    dimensions = weight.ndim - 2
    if groups == 1 or isinstance(padding, str) or input.ndim != weight.ndim:
        return function(input, weight, bias, stride, padding, dilation, groups)
    geometry = Geometry(_each(stride, dimensions), _each(padding, dimensions), _each(dilation, dimensions), groups)
    output = Convolution.apply(input, weight, geometry)
    return output if bias is None else output + bias.view(-1, *(1,) * dimensions)


def _each(value: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """A number for each dimension."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) == 1 else values


class _Bilinear(Function):
    """A function of two tensors, linear in each, whose derivatives are functions of this kind again."""

    # So engines that evaluate candidates together can go through it: vmap refuses functions without a rule.
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep both factors, for each is in the derivative for the other."""
        first, second, geometry, *_ = inputs
        ctx.save_for_backward(first, second)
        ctx.geometry, ctx.absent = geometry, (None,) * (len(inputs) - 2)


class Convolution(_Bilinear):
    """y(x, w): the convolution of an input (B, C, ...) with a weight."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """The output."""
        stride, padding, dilation, groups = geometry
        return torch.ops.aten.convolution(x, weight, None, stride, padding, dilation, False, (0,), groups)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        """The gradients for x and w."""
        (cotangent,) = cotangents
        x, weight = ctx.saved_tensors
        for_x, for_weight, *_ = ctx.needs_input_grad
        return (
            InputGradient.apply(cotangent, weight, ctx.geometry, x.shape) if for_x else None,
            WeightGradient.apply(x, cotangent, ctx.geometry, weight.shape) if for_weight else None,
            *ctx.absent,
        )


class InputGradient(_Bilinear):
    """The x for which <x, v> = <y(v, w), g> for every v: linear in g and in w."""

    @staticmethod
    def forward(cotangent: Tensor, weight: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
        """The gradient, of the input's shape."""
        return _backward(cotangent, cotangent.new_empty(1).expand(shape), weight, geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        """The gradients for g and w."""
        (v,) = cotangents
        cotangent, weight = ctx.saved_tensors
        for_cotangent, for_weight, *_ = ctx.needs_input_grad
        return (
            Convolution.apply(v, weight, ctx.geometry) if for_cotangent else None,
            WeightGradient.apply(v, cotangent, ctx.geometry, weight.shape) if for_weight else None,
            *ctx.absent,
        )


class WeightGradient(_Bilinear):
    """The w for which <w, v> = <y(x, v), g> for every v: linear in x and in g."""

    @staticmethod
    def forward(x: Tensor, cotangent: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
        """The gradient, of the weight's shape."""
        return _backward(cotangent, x, cotangent.new_empty(1).expand(shape), geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        """The gradients for x and g."""
        (v,) = cotangents
        x, cotangent = ctx.saved_tensors
        for_x, for_cotangent, *_ = ctx.needs_input_grad
        return (
            InputGradient.apply(cotangent, v, ctx.geometry, x.shape) if for_x else None,
            Convolution.apply(x, v, ctx.geometry) if for_cotangent else None,
            *ctx.absent,
        )


def _backward(
    cotangent: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, asked: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's gradients of a convolution; of what is not asked for, the shape alone matters."""
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution_backward(
        cotangent, x, weight, None, stride, padding, dilation, False, (0,), groups, asked
    )
