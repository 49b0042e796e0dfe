"""Which layer is the classifier: found by what it does, never by where it stands."""

from collections import Counter

import torch
from torch import Tensor, nn

from gradinv.attacks.victim.substitution import call_with
from gradinv.metrics.registry import RequestError


class NoClassifierError(RequestError):
    """A network without a classifier whose weight gradient could be read."""


@torch.no_grad()
def find_classifier(network: nn.Module, images: Tensor) -> str:
    """Name of the weight of the linear layer, or of the convolution, whose output is the logits of the images.

    It has one row a class, is called once a pass, its weight is its own and is trained: then row c of its
    gradient is (probability of c - whether c is true) times the features, on which rules of label inference rest.
    `images` (B, C, H, W) are any that the network takes. Raises NoClassifierError where there is no such layer.
    """
    logits, calls = _linear_outputs(network, images)
    classifiers = [layer for layer, outputs in calls.items() if any(_equal(output, logits) for output in outputs)]
    title = type(network).__name__
    if len(classifiers) != 1:
        raise NoClassifierError(
            f"the logits of {title} are not the output of one linear layer with a row a class, "
            "so no label can be inferred; grant labels"
        )
    (layer,) = classifiers
    name = next((name for name, parameter in network.named_parameters() if parameter is layer.weight), None)
    owners = Counter(id(parameter) for part in network.modules() for parameter in part._parameters.values())
    if name is None or len(calls[layer]) > 1 or owners[id(layer.weight)] > 1:
        raise NoClassifierError(
            f"the classifier of {title} is called more than once or shares its weight, so no label can be inferred; "
            "grant labels"
        )
    if not layer.weight.requires_grad:
        raise NoClassifierError(f"{name} is frozen and not sent, so no label can be inferred; grant labels")
    return name


def _linear_outputs(
    network: nn.Module, images: Tensor
) -> tuple[Tensor, dict[nn.Linear | nn.Conv2d, list[Tensor | None]]]:
    """The logits (B, classes), and what each linear layer made of one pass, call by call: (B, rows), else None."""
    calls: dict[nn.Linear | nn.Conv2d, list[Tensor | None]] = {}

    def note(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        is_row = output.numel() == len(images) * layer.weight.shape[0]
        # A copy, because what follows may change the output in place: then it is not the logits.
        calls.setdefault(layer, []).append(output.flatten(1).clone() if is_row else None)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        logits = network(images)
        if not logits.any():  # as at a classifier that starts at zero: any other layer's zeros would equal them
            calls.clear()
            logits = call_with(network, _shaken(network), images)
        return logits, calls
    finally:
        for handle in handles:
            handle.remove()


def _shaken(network: nn.Module) -> dict[str, Tensor]:
    """The parameters with some noise."""
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(value.shape, generator=generator) for name, value in network.named_parameters()}
    return {name: value + 0.1 * noise[name].to(value) for name, value in network.named_parameters()}


def _equal(output: Tensor | None, logits: Tensor) -> bool:
    return output is not None and output.shape == logits.shape and torch.equal(output, logits)
