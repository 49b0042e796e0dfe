"""What a network must be to be a victim, tried before any trial: a pure function that can be differentiated twice."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradinv.attacks.victim import call_with
from gradinv.benchmark.victims.networks import VictimError, reason_of
from gradinv.benchmark.victims.zero_gradients import noise_images

AGREEMENT = 1e-4
"""Relative: equal operations on equal numbers differ by rounding at most."""


def require_pure(network: nn.Module, twin: nn.Module, image_shape: tuple[int, int, int], title: str) -> None:
    """Nothing where equal weights and images give equal logits, again and in a network built with other weights.

    VictimError where they do not: a network that is random in eval mode, that goes by what it saw before, or that holds
    something beside its parameters and buffers which is not in a weight file.
    """
    images, weights = noise_images(image_shape), _shaken(network)
    with torch.no_grad():
        first, again, rebuilt = (call_with(each, weights, images) for each in (network, network, twin))
    if not _agree(first, again):
        raise VictimError(f"{title} gives other logits for the same images; no randomness and no counters in eval mode")
    if not _agree(first, rebuilt):
        raise VictimError(
            f"{title} depends on more than its parameters and saved buffers, so that a weight file is not the whole "
            "network; register what it draws or computes when it is built as a buffer"
        )


def require_logits(network: nn.Module, image_shape: tuple[int, int, int], title: str) -> None:
    """Nothing where the outputs are logits, or their logarithmic softmax, which cross-entropy takes for the same.

    VictimError where they are probabilities: cross-entropy would take the softmax of a softmax.
    """
    with torch.no_grad():
        outputs = network(noise_images(image_shape))
    sums = outputs.sum(1)
    if bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=AGREEMENT):
        raise VictimError(
            f"{title} returns probabilities (a softmax is its last layer), and cross-entropy is of logits; leave the "
            "softmax out, or return their logarithm if that is what its clients train with"
        )


def require_two_derivatives(network: nn.Module, image_shape: tuple[int, int, int], title: str) -> tuple[Tensor, ...]:
    """The gradients of the trained parameters for noise, which must have a gradient for the images themselves.

    VictimError where an operation has no second derivative, which every gradient-matching attack needs.
    """
    images = noise_images(image_shape).requires_grad_(True)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        loss = nn.functional.cross_entropy(network(images), torch.tensor([0, 1]))
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        length = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        if length.requires_grad:
            # Through the whole graph and not for the images alone: an operation that is differentiable once cuts its
            # part off in silence where nothing behind the cut is asked for.
            length.backward()
    except Exception as error:
        raise VictimError(f"{title} cannot be differentiated twice, as attacks do: {reason_of(error)}") from error
    finally:
        network.zero_grad(set_to_none=True)
    return tuple(gradient.detach() for gradient in gradients)


def _shaken(network: nn.Module) -> dict[str, Tensor]:
    """Parameters with some noise, and the buffers that a weight file holds."""
    # Noise, because a classifier that starts at zero hides everything before it.
    generator = torch.Generator().manual_seed(0)
    kept: Mapping[str, Tensor] = network.state_dict()
    parameters = {
        name: value.detach() + 0.05 * torch.randn(value.shape, generator=generator)
        for name, value in network.named_parameters()
    }
    return parameters | {name: value for name, value in network.named_buffers() if name in kept}


def _agree(logits: Tensor, others: Tensor) -> bool:
    scale = float(logits[torch.isfinite(logits)].abs().max()) if bool(torch.isfinite(logits).any()) else 1.0
    # Relative to the largest as well: a logit near zero is a difference of larger numbers, with their rounding.
    return torch.allclose(logits, others, rtol=AGREEMENT, atol=AGREEMENT * scale, equal_nan=True)
