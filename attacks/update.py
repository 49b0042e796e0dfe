"""How what a client sends follows from its batch: the client, its self-check and every candidate compute it alike.

An update is a function of parameters, images and labels that can be differentiated for all three.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradinv.metrics.keys import Key, checked_arguments, parse_key
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError, unknown

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

    @property
    def has_scale(self) -> bool:
        """Whether `as_gradient` knows the length of the gradient and not its direction alone."""
        return True

    @property
    def reason_no_client(self) -> str | None:
        """Why no client can compute it, in one line: it stands for what an attacker does not know. Mostly None."""
        return None

    def as_gradient(self, sent: dict[str, Tensor], batch_size: int) -> dict[str, Tensor]:
        """What was sent, by parameter, as a gradient of the mean loss: so distances and label rules read it."""
        return sent

    def known(self, key: Key, simulation: str) -> Key:
        """The key of what an attacker can compute who knows so much (`SIMULATION`) of how this one is computed."""
        return key


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


class EffectiveGradient(Gradient):
    """What is left of a weight update for one who knows nothing of the local training: the gradient's direction."""

    @property
    def has_scale(self) -> bool:
        """False: neither learning rate nor steps are known."""
        return False

    @property
    def reason_no_client(self) -> str:
        """A client knows what it does."""
        return "update weight_update does not say how the client trains; give lr, as in weight_update[lr=0.01,epochs=4]"


class WeightUpdate(Update):
    """The weights before minus those after `epochs` of SGD over the client's images (FedAvg, McMahan et al. 2017).

    SGD with momentum and weight decay as in `torch.optim.SGD`, in minibatches of `minibatch` images, the last one of
    what is left; None: all images at once. `order`: `slots`, the batch's own in every epoch, or `shuffled` anew in
    every epoch, by a seed that is part of the update. `unknown` stands for an attacker who does not know which images
    a step saw, and takes all of them in every step. Where it is differentiated, from `CHECKPOINTED` steps on the passes
    of a step are computed again when they are needed and not kept.
    """

    def __init__(
        self, lr: float, epochs: int, minibatch: int | None, momentum: float, weight_decay: float, order: str
    ) -> None:
        self.lr, self.epochs, self.minibatch = lr, epochs, minibatch
        self.momentum, self.weight_decay, self.order = momentum, weight_decay, order

    @property
    def reason_no_client(self) -> str | None:
        """For a client its order is known."""
        return "order=unknown is an attacker's; a client's is slots or shuffled" if self.order == "unknown" else None

    def steps(self, batch_size: int) -> int:
        """Steps of all epochs.

        >>> create_update("weight_update[epochs=2,lr=0.1,minibatch=3]").steps(7)
        6
        """
        return self.epochs * math.ceil(batch_size / (self.minibatch or batch_size))

    def as_gradient(self, sent: dict[str, Tensor], batch_size: int) -> dict[str, Tensor]:
        """What was sent over the sum of the steps' rates: the gradient, were it the same in all steps.

        With momentum a gradient counts in all later steps too. Weight decay is left in.
        """
        steps = self.steps(batch_size)
        rate = self.lr * sum(sum(self.momentum**later for later in range(steps - step)) for step in range(steps))
        return {name: value / rate for name, value in sent.items()}

    def known(self, key: Key, simulation: str) -> Key:
        """All of it, all but the order, or that it is a weight update."""
        weak = {**key.parameters, "order": "unknown"}
        return Key(key.name, "", {"strong": key.parameters, "weak": weak, "none": {}}[simulation])

    def compute(
        self, logits: Logits, parameters: Parameters, images: Tensor, labels: Tensor, *, create_graph: bool
    ) -> tuple[Tensor, ...]:
        """The change for each parameter; zeros for one that the logits do not depend on, without weight decay."""
        names = list(parameters)

        def step(slots: list[int] | None, *state: Tensor) -> tuple[Tensor, ...]:
            # Velocities, where there are any, come after the weights, and the names end before them.
            weights = dict(zip(names, state, strict=False))
            loss = cross_entropy(logits(weights, _of(images, slots)), _of(labels, slots))
            slopes = torch.autograd.grad(
                loss, list(weights.values()), create_graph=create_graph, materialize_grads=True
            )
            return self._moved(state, slopes)

        # Views, since the steps that are taken again in the backward pass would look like evaluations of their own to
        # whoever counts gradients for the parameters.
        minibatches, state = (
            self._minibatches(len(images)),
            tuple(value.view_as(value) for value in parameters.values()),
        )
        for slots in minibatches:
            if create_graph and len(minibatches) >= CHECKPOINTED:
                # A step draws nothing (dropout is off, a defense's noise is a buffer): no random state need be kept.
                state = checkpoint(step, slots, *state, use_reentrant=False, preserve_rng_state=False)
            else:
                state = step(slots, *state)
            # Cut after every step: nobody differentiates through it, and its graph would be kept to the end.
            if not create_graph:
                state = tuple(value.detach().requires_grad_(True) for value in state)
        changes = zip(parameters.values(), state, strict=False)
        return tuple(before - after if create_graph else (before - after).detach() for before, after in changes)

    def functional(
        self, logits: LogitsWithAside, parameters: Parameters, images: Tensor, labels: Tensor
    ) -> tuple[list[Tensor], Any]:
        """The same changes, and what the forward pass of the last step left aside."""
        names = list(parameters)

        def loss(values: list[Tensor], slots: list[int] | None) -> tuple[Tensor, Any]:
            outputs, aside = logits(dict(zip(names, values, strict=True)), _of(images, slots))
            return cross_entropy(outputs, _of(labels, slots)), aside

        state, aside = tuple(parameters.values()), None
        for slots in self._minibatches(len(images)):
            slopes, aside = torch.func.grad(loss, has_aux=True)(list(state[: len(names)]), slots)
            state = self._moved(state, slopes)
        return [before - after for before, after in zip(parameters.values(), state, strict=False)], aside

    def _minibatches(self, batch_size: int) -> list[list[int] | None]:
        """The slots that every step sees; None for all of them."""
        size = self.minibatch or batch_size
        if self.order == "unknown" or size >= batch_size:
            return [None] * self.steps(batch_size)
        steps: list[list[int] | None] = []
        for epoch in range(self.epochs):
            slots = list(range(batch_size))
            if self.order == "shuffled":
                random.Random(epoch).shuffle(slots)  # not torch's: its draws would become part of a traced program
            steps += [slots[start : start + size] for start in range(0, batch_size, size)]
        return steps

    def _moved(self, state: Sequence[Tensor], slopes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Weights and, with momentum, velocities after one step; before the first step there are no velocities."""
        weights, velocities = state[: len(slopes)], state[len(slopes) :]
        if self.weight_decay:
            slopes = [slope + self.weight_decay * weight for slope, weight in zip(slopes, weights, strict=True)]
        if velocities:
            slopes = [self.momentum * old + slope for old, slope in zip(velocities, slopes, strict=True)]
        moved = [weight - self.lr * slope for weight, slope in zip(weights, slopes, strict=True)]
        return (*moved, *slopes) if self.momentum else tuple(moved)


CHECKPOINTED = 8
"""Local steps from which on memory is saved, at the price of one more pass through each."""


def _of(batch: Tensor, slots: list[int] | None) -> Tensor:
    """The rows of these slots."""
    # Stacked and not indexed: an index tensor would have to follow the batch from device to device.
    return batch if slots is None else torch.stack([batch[slot] for slot in slots])


def weight_update(
    *,
    lr: Annotated[float, Field(gt=0)] | None = None,
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 1,
    minibatch: Annotated[int, Field(ge=1)] | None = None,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    weight_decay: Annotated[float, Field(ge=0)] = 0.0,
    order: Literal["slots", "shuffled", "unknown"] = "slots",
) -> Update:
    """The `WeightUpdate` of these settings; without `lr` what is known of one where all are withheld."""
    return EffectiveGradient() if lr is None else WeightUpdate(lr, epochs, minibatch, momentum, weight_decay, order)


UPDATES: Mapping[str, Callable[..., Update]] = {"gradient": Gradient, "weight_update": weight_update}
"""What a threat model's `update` may name."""

SIMULATION: Mapping[str, str] = {
    "strong": "all: the attacker can repeat the local training on a candidate step by step",
    "weak": "learning rate, steps, momentum and decay, but not which images a step saw: every step takes all",
    "none": "nothing: the update is a direction (no learning rate, no number of steps)",
}
"""What an attacker knows of the local training behind a weight update (degrees of arXiv 2503.11514)."""


def canonical_update(text: str) -> str:
    """The key with its parameters validated and sorted; UnknownNameError or InvalidEntryError in one line.

    >>> canonical_update("weight_update[lr=0.1,epochs=2]")
    'weight_update[epochs=2,lr=0.1]'
    """
    key = parse_key(text)
    if key.name not in UPDATES or key.preset:
        raise UnknownNameError(unknown("update", text, list(UPDATES)))
    given = checked_arguments(f"update {key.name!r}", UPDATES[key.name], key.parameters)
    if given and "lr" not in given and key.name == "weight_update":
        raise InvalidEntryError("update 'weight_update': give lr as well; without any parameter all is unknown")
    return str(Key(key.name, "", given))


def create_update(text: str) -> Update:
    """The update of a key such as `gradient`; UnknownNameError with the nearest names for any other."""
    key = parse_key(canonical_update(text))
    return UPDATES[key.name](**key.parameters)


def known_update(text: str, simulation: str) -> str:
    """The key of what an attacker can compute who knows so much of the local training.

    >>> known_update("weight_update[epochs=4,lr=0.1]", "weak"), known_update("weight_update[epochs=4,lr=0.1]", "none")
    ('weight_update[epochs=4,lr=0.1,order=unknown]', 'weight_update')
    """
    return str(create_update(text).known(parse_key(text), simulation))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, classes) and class indices (B,) or probabilities (B, classes).

    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).exp().item()
    4.0
    """
    log_probabilities = logits.log_softmax(dim=-1)
    if labels.dtype.is_floating_point:
        return -(labels * log_probabilities).sum(dim=-1).mean()
    return nn.functional.nll_loss(log_probabilities, labels)
