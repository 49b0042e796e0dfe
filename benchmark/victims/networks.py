"""Building victims' networks: any timm model so that it can be differentiated twice."""

import difflib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from timm.layers import activations, activations_me, set_fused_attn
from torch import Tensor, nn

from gradinv.attacks.victim import forget_hidden_state, trained_parameters
from gradinv.benchmark.victims import literature, matched_networks  # noqa: F401 - they register networks with timm
from gradinv.benchmark.victims.spec import Stem
from gradinv.metrics.image_size import ImageSize, sides
from gradinv.metrics.registry import RequestError, UnknownNameError


class VictimError(RequestError):
    """A victim that cannot be had; its text is one line that says why and how to mend it."""


OF_TIMM = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""What timm's factory hands to every model, whether its constructor takes it or not."""


class HardSigmoid(nn.Module):
    """relu6(x + 3) / 6: the hard sigmoid by operations that PyTorch differentiates twice."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu6(x + 3) / 6


class HardSwish(nn.Module):
    """x relu6(x + 3) / 6: the hard swish by operations that PyTorch differentiates twice."""

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.relu6(x + 3) / 6


# What PyTorch and timm offer, and what stands in for it: the same functions, of operations with a second derivative.
TWICE_DIFFERENTIABLE: tuple[tuple[tuple[type[nn.Module], ...], type[nn.Module]], ...] = (
    ((nn.Hardsigmoid, activations.HardSigmoid, activations_me.HardSigmoidMe), HardSigmoid),
    ((nn.Hardswish, activations.HardSwish, activations_me.HardSwishMe), HardSwish),
)


def build_network(
    model: str,
    *,
    num_classes: int,
    image_size: ImageSize,
    channels: int = 3,
    stem: Stem = "default",
    pretrained: bool = False,
    seed: int = 0,
    untrained: bool = False,
    pretrained_file: str | None = None,
) -> nn.Module:
    """A timm model in eval mode that can be differentiated twice, its weights drawn from `seed`.

    `untrained` says that nothing is loaded afterwards: no residual block then starts with a zeroed normalisation, which
    would leave most parameters without a gradient. `pretrained` takes timm's weights (from `pretrained_file` if given;
    else downloaded unless cached). `stem` cifar: 3x3 first convolution of stride 1, no pooling. timm's fused attention,
    which has no second derivative, is switched off in the process. What a pass leaves in its modules is forgotten
    (`hidden_state.py`). The caller's random state is left alone. Raises UnknownNameError with near names, VictimError
    where the model cannot take such images or such a stem, or is no network of float32 that returns logits.
    """
    require_model(model)
    set_fused_attn(False)  # a switch of the process: it cannot be set for one network
    options: dict[str, Any] = {"pretrained": True} if pretrained else {}
    if pretrained_file is not None:
        options["pretrained_cfg_overlay"] = {"file": pretrained_file}
    height, width = sides(image_size)
    # A number for squares: not every model of timm takes two.
    optional: dict[str, Any] = {"num_classes": num_classes, "img_size": height if height == width else (height, width)}
    optional |= {"zero_init_last": False} if untrained else {}
    optional |= {} if channels == 3 else {"in_chans": channels}
    network: nn.Module | None = None
    with torch.random.fork_rng(devices=[]):  # no devices: networks are built, and their weights drawn, on the CPU
        try:
            network = _create(model, options, optional, seed)
            if stem == "cifar":
                _cifar_stem(network)
            _make_twice_differentiable(network)
            _require_parameters(network)
            forget_hidden_state(network.eval())
            _probe(network, num_classes, (channels, height, width))
        except RequestError as error:
            raise VictimError(f"{model}: {error}") from error
        except Exception as error:  # a model of one's own raises anything
            reason = reason_of(error) + (channels_in_words(network, channels) if isinstance(network, nn.Module) else "")
            title = f"{model} with pretrained weights cannot be had" if pretrained else f"{model} cannot be built"
            raise VictimError(f"{title} for {height} x {width} images: {reason}") from error
    return network


def reason_of(error: BaseException) -> str:
    """An error in one line of bounded length. Nothing of torch's advice to read a pickle after all.

    >>> reason_of(RuntimeError("no such shape\\nmore"))
    'no such shape'
    """
    if re.search("weights.only", str(error), re.IGNORECASE):
        return "its weight file holds more than tensors, or is damaged"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def require_model(model: str) -> None:
    """Nothing for a model that timm knows (a plug-in's own included); UnknownNameError with near names for others."""
    # What stands after a dot names pretrained weights (`resnet18.a1_in1k`), not an architecture.
    if not timm.is_model(model.split(".")[0]):
        near = difflib.get_close_matches(model, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see `gradinv list models`"
        raise UnknownNameError(f"unknown model {model!r}; {hint}")


def _create(model: str, options: dict[str, Any], optional: dict[str, Any], seed: int) -> nn.Module:
    """The model with those of the `optional` arguments that it accepts: it is asked until it refuses none."""
    # timm hands arguments on to the model's constructor and does not say which ones it takes; a TypeError names them.
    make: Callable[..., nn.Module] = partial(timm.create_model, model)
    while True:
        torch.manual_seed(seed)  # again: an attempt that failed may have drawn
        try:
            return make(**options, **optional)
        except TypeError as error:
            refused = [name for name in optional if f"'{name}'" in str(error)]
            if not refused and any(f"'{name}'" in str(error) for name in OF_TIMM) and isinstance(make, partial):
                make = timm.models.model_entrypoint(model.split(".")[0])  # a constructor that takes none of timm's own
            elif not refused:
                raise
            optional = {name: value for name, value in optional.items() if name not in refused}


def _cifar_stem(network: nn.Module) -> None:
    """3x3 stride-1 first convolution and no pooling, for networks with timm's ResNet stem (`conv1`, `maxpool`)."""
    conv, pool = getattr(network, "conv1", None), getattr(network, "maxpool", None)
    first = conv[0] if isinstance(conv, nn.Sequential) else conv
    if not isinstance(first, nn.Conv2d) or pool is None:
        raise VictimError("it has no ResNet stem (conv1, maxpool), so stem=cifar does not fit; take stem=default")
    bias = first.bias is not None
    stem = nn.Conv2d(first.in_channels, first.out_channels, kernel_size=3, stride=1, padding=1, bias=bias)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as timm initialises a ResNet's
    if isinstance(conv, nn.Sequential):  # a deep stem of three convolutions, of which the first has the stride
        conv[0] = stem
    else:
        network.conv1 = stem
    network.maxpool = nn.Identity()


def _make_twice_differentiable(network: nn.Module) -> None:
    """Swap every hard sigmoid and hard swish, whose kernels PyTorch cannot differentiate twice, for equal modules."""
    for parent in list(network.modules()):  # lists, because the loop changes what it runs over
        for name, child in list(parent.named_children()):
            for replaced, replacement in TWICE_DIFFERENTIABLE:
                if isinstance(child, replaced):
                    setattr(parent, name, replacement())


def _require_parameters(network: nn.Module) -> None:
    """VictimError where it is no module of float32 parameters, FrozenNetworkError where it trains none."""
    if not isinstance(network, nn.Module):
        raise VictimError(f"its constructor returns {type(network).__name__} and no torch.nn.Module")
    types = {str(p.dtype).removeprefix("torch.") for p in network.parameters() if p.dtype != torch.float32}
    if types:
        raise VictimError(f"its parameters are {', '.join(sorted(types))}; victims are float32: return module.float()")
    trained_parameters(network)


def _probe(network: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
    """One forward pass, so that a network which cannot take such images fails here and not in the middle of a run."""
    with torch.no_grad():
        logits = network(torch.zeros(1, *image_shape))
    if not isinstance(logits, Tensor):
        held = f"a {type(logits).__name__}" + (f" of {len(logits)}" if hasattr(logits, "__len__") else "")
        raise VictimError(
            f"its forward returns {held} and not one tensor of logits {(1, num_classes)}; register a module that calls "
            "it and returns the logits alone"
        )
    if tuple(logits.shape) != (1, num_classes):
        raise VictimError(f"its output has the shape {tuple(logits.shape)} and not {(1, num_classes)}")


def channels_in_words(network: nn.Module, channels: int = 3) -> str:
    """How to wrap a network that takes images of another number of channels, after a semicolon; empty for any other."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first.in_channels == channels:
        return ""
    wrap = "images.mean(1, keepdim=True)" if first.in_channels == 1 else f"{first.in_channels} channels"
    return f"; images have {channels} channels: wrap it in a module that calls it with {wrap}"
