"""How what a client sends follows from its batch: the client, its self-check and every candidate compute it alike.

An update is a function of parameters, images and labels that can be differentiated for all three.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradinv.metrics.keys import parse_key
from gradinv.metrics.registry import UnknownNameError, unknown

Parameters = Mapping[str, Tensor]
Logits = Callable[[Parameters, Tensor], Tensor]
"""(parameters by name, normalised images (B, C, H, W)) -> logits (B, classes)."""
LogitsWithAside = Callable[[Parameters, Tensor], tuple[Tensor, Any]]
"""The same, with whatever else the forward pass leaves, such as batch-norm statistics."""


class Update(ABC):
    """One way of computing what is sent. Labels are class indices (B,) or probabilities (B, classes)."""

    @abstractmethod
    def compute(
        self, logits: Logits, parameters: Parameters, images: Tensor, labels: Tensor, *, create_graph: bool
    ) -> tuple[Tensor, ...]:
        """What is sent for each parameter, in their order, by autograd; with `create_graph` differentiable itself."""

    # A second way, because `torch.autograd.grad` cannot be relied on inside the transforms of `torch.func`.
    @abstractmethod
    def functional(
        self, logits: LogitsWithAside, parameters: Parameters, images: Tensor, labels: Tensor
    ) -> tuple[list[Tensor], Any]:
        """The same by `torch.func`, for use inside its transforms, with what the forward pass left aside."""

    def steps(self, batch_size: int) -> int:
        """Local steps that the client takes over a batch of so many images."""
        return 1

    def as_gradient(self, sent: dict[str, Tensor]) -> dict[str, Tensor]:
        """What was sent, by parameter, as rules of label inference read it: as a gradient of the mean loss."""
        return sent


class Gradient(Update):
    """The gradient of the mean cross-entropy over the batch: one step of FedSGD.

    >>> parameters = {"weight": torch.zeros(2, 1, requires_grad=True)}
    >>> linear = lambda parameters, images: images.flatten(1) @ parameters["weight"].T
    >>> Gradient().compute(linear, parameters, torch.ones(1, 1, 1, 1), torch.tensor([0]), create_graph=False)
    (tensor([[-0.5000],
            [ 0.5000]]),)
    """

    def compute(
        self, logits: Logits, parameters: Parameters, images: Tensor, labels: Tensor, *, create_graph: bool
    ) -> tuple[Tensor, ...]:
        """The gradient for each parameter; zeros for one that the logits do not depend on."""
        loss = cross_entropy(logits(parameters, images), labels)
        # Zeros, not None: a server receives a tensor for every parameter, used or not.
        return torch.autograd.grad(loss, list(parameters.values()), create_graph=create_graph, materialize_grads=True)

    def functional(
        self, logits: LogitsWithAside, parameters: Parameters, images: Tensor, labels: Tensor
    ) -> tuple[list[Tensor], Any]:
        """The same gradients, and what the forward pass left aside."""
        names = list(parameters)

        def loss(values: list[Tensor]) -> tuple[Tensor, Any]:
            outputs, aside = logits(dict(zip(names, values, strict=True)), images)
            return cross_entropy(outputs, labels), aside

        return torch.func.grad(loss, has_aux=True)(list(parameters.values()))


UPDATES: Mapping[str, Callable[..., Update]] = {"gradient": Gradient}
"""What a threat model's `update` may name."""


def create_update(text: str) -> Update:
    """The update of a key such as `gradient`; UnknownNameError with the nearest names for any other."""
    key = parse_key(text)
    if key.name not in UPDATES or key.preset:
        raise UnknownNameError(unknown("update", text, list(UPDATES)))
    return UPDATES[key.name](**key.parameters)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, classes) and class indices (B,) or probabilities (B, classes).

    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).exp().item()
    4.0
    """
    log_probabilities = logits.log_softmax(dim=-1)
    if labels.dtype.is_floating_point:
        return -(labels * log_probabilities).sum(dim=-1).mean()
    return nn.functional.nll_loss(log_probabilities, labels)
