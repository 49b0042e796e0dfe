"""What an attacker who knows the defense does to a candidate's update, so that it can meet the defended one.

A leak names its transform by key, never as code: it is written to disk and read in another process.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gradinv.attacks.registry import Parametrised
from gradinv.metrics.keys import UNBOUNDED, checked_arguments, parse_key, split_keys
from gradinv.metrics.registry import InvalidEntryError, Registry, RequestError

if TYPE_CHECKING:
    from gradinv.attacks.leak import Leak
    from gradinv.attacks.victim import Victim


class UnansweredError(RequestError):
    """A batch, network or attack for which a transform has no answer, in words: the cell is skipped with them."""


class Seen(NamedTuple):
    """What the client's network saw of a candidate: images, labels, and buffers by name in place of its own."""

    images: Tensor
    labels: Tensor
    buffers: Mapping[str, Tensor] = MappingProxyType({})


class Transform(Parametrised, ABC):
    """A differentiable function of a candidate's update; hyperparameters are keyword-only and typed.

    What a client draws in secret and never sends may be found together with the images: `secrets` variables, which
    begin where `start` says and decide what the client's network saw of a candidate.
    """

    secrets: int = 0
    """How many variables stand for what the client drew."""

    mixes_labels: bool = False
    """Whether `seen` takes labels as probabilities (B, classes) alone."""

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """Where the variables of the secrets begin; UnansweredError for a leak to which this has no answer."""
        return []

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """What the network saw of a candidate's images (B, C, H, W) and labels, given the secrets; differentiable."""
        return Seen(images, labels)

    def private(self, images: Tensor, leak: "Leak", victim: "Victim") -> Tensor:
        """The private images behind those (B, C, H, W) that were found: others where `seen` could not tell them."""
        return images

    @abstractmethod
    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """What the candidate's update (one tensor a parameter) would be after the defense that gave `observed`."""

    def bound(self, names: Sequence[str]) -> "Transform":
        """The same for a network whose parameters have these names, in the order of every update."""
        return self

    def compared(self, observed: list[Tensor]) -> list[Tensor]:
        """What of the observed update is compared: all of it, unless the transform leaves tensors out."""
        return observed


TRANSFORMS: "Registry[type[Transform]]" = Registry(
    "transform", package="gradinv.attacks", decorator="register_transform", group="gradinv.transforms"
)


class BeforeTheUpdate(Transform):
    """What a client does before its update is computed: `seen` says it, and the update is left as it is."""

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The candidate's update as it is."""
        return list(candidate)


def register_transform(name: str) -> Callable[[type[Transform]], type[Transform]]:
    """Decorator that registers a transform class under `name`; a defense's `known` returns its key."""
    return TRANSFORMS.register(name)


def create_transform(text: str) -> Transform:
    """The transform of a key such as `clipped[max_norm=1.0]`, or of several joined by `+`, applied in their order.

    UnknownNameError or InvalidEntryError for any other.
    """
    parts = [_single(part) for part in split_keys(text)]
    return parts[0] if len(parts) == 1 else InOrder(parts)


def _single(text: str) -> Transform:
    key = parse_key(text)
    entry = TRANSFORMS.get(key.name)
    arguments: dict[str, Any] = checked_arguments(f"transform {key.name!r}", entry.target, key.parameters)
    return entry.target(**arguments)


class InOrder(Transform):
    """Several transforms, each applied to what the ones before it made."""

    def __init__(self, parts: Sequence[Transform]) -> None:
        self.parts = tuple(parts)
        self.secrets = sum(part.secrets for part in self.parts)
        self.mixes_labels = any(part.mixes_labels for part in self.parts)

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """The secrets of every part, in their order."""
        return [variable for part in self.parts for variable in part.start(leak, victim)]

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """What is left after every part."""
        buffers: dict[str, Tensor] = {}
        for part in self.parts:
            images, labels, drawn = part.seen(images, labels, secrets[: part.secrets])
            # Each part takes as many as it has asked for, in the order in which `start` gave them.
            secrets, buffers = secrets[part.secrets :], {**buffers, **drawn}
        return Seen(images, labels, buffers)

    def private(self, images: Tensor, leak: "Leak", victim: "Victim") -> Tensor:
        """What every part finds behind them, the last one first."""
        for part in reversed(self.parts):
            images = part.private(images, leak, victim)
        return images

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """What the last one makes."""
        for part in self.parts:
            candidate = part(candidate, observed)
        return list(candidate)

    def bound(self, names: Sequence[str]) -> Transform:
        """Every part bound."""
        return InOrder([part.bound(names) for part in self.parts])

    def compared(self, observed: list[Tensor]) -> list[Tensor]:
        """What no part leaves out."""
        for part in self.parts:
            observed = part.compared(observed)
        return observed


@register_transform("clipped")
class Clipped(Transform):
    """The update scaled down to an l2 norm of at most `max_norm`, over all tensors together.

    >>> Clipped(max_norm=1.0)([torch.tensor([3.0, 4.0])], [])[0].norm().item()
    1.0
    """

    def __init__(self, *, max_norm: Annotated[float, Field(gt=0), UNBOUNDED] = 1.0) -> None:
        self.max_norm = max_norm

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The scaled tensors; `observed` is not used."""
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in candidate]))
        # Not `clamp`: a norm of zero would leave a gradient that is not a number behind the division.
        # A choice between tensors: evaluations are traced, and a branch on a value cannot be.
        factor = torch.where(norm > self.max_norm, self.max_norm / norm.clamp_min(self.max_norm), 1.0)
        return [value * factor for value in candidate]


@register_transform("masked")
class Masked(Transform):
    """The update with zeros wherever the observed one is exactly zero: what pruning has removed says nothing.

    >>> Masked()([torch.tensor([3.0, 4.0])], [torch.tensor([0.0, 1.0])])
    [tensor([0., 4.])]
    """

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The masked tensors."""
        # Entries that were zero without pruning are masked as well: what is sent does not tell the two apart.
        return [value * (target != 0) for value, target in zip(candidate, observed, strict=True)]


@register_transform("ignored")
class Ignored(Transform):
    """Zeros for every tensor of the layers called `part`, on both sides: what a defense made useless is left out."""

    def __init__(self, *, part: str = "bottleneck") -> None:
        self.part = part
        self.names: Sequence[str] = ()

    def bound(self, names: Sequence[str]) -> Transform:
        """The same for these parameters; InvalidEntryError where no layer is called so."""
        if not any(self.part in name.split(".") for name in names):
            raise InvalidEntryError(f"ignored[part={self.part}]: the victim has no layer of that name")
        bound = Ignored(part=self.part)
        bound.names = names
        return bound

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The candidate's update with zeros for these layers."""
        pairs = zip(self.names, candidate, strict=True)
        return [torch.zeros_like(value) if self.part in name.split(".") else value for name, value in pairs]

    def compared(self, observed: list[Tensor]) -> list[Tensor]:
        """The observed update with zeros for these layers."""
        return self(observed, observed)


@register_transform("signed")
class Signed(Transform):
    """A smooth sign: `size` * tanh(entry / (`softness` * mean magnitude of its tensor)), the sign for softness to 0.

    >>> Signed(size=1.0, softness=0.01)([torch.tensor([3.0, -4.0, 0.0])], [])
    [tensor([ 1., -1.,  0.])]
    """

    def __init__(
        self, *, size: Annotated[float, Field(gt=0)] = 0.01, softness: Annotated[float, Field(gt=0)] = 1.0
    ) -> None:
        self.size, self.softness = size, softness

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The smooth signs; `observed` is not used."""
        return [self.size * torch.tanh(value / (self.softness * _positive(value.abs().mean()))) for value in candidate]


@register_transform("quantized")
class Quantized(Transform):
    """The nearest of `levels` levels on either side of zero, by each tensor's `norm`: l2, or its largest magnitude.

    The gradient passes the rounding as if it were not there (straight through): a step function has none of its own.

    >>> Quantized(levels=2, norm="max")([torch.tensor([4.0, 1.2, 0.5])], [])
    [tensor([4., 2., 0.])]
    """

    def __init__(self, *, levels: Annotated[int, Field(ge=1)] = 16, norm: Literal["l2", "max"] = "l2") -> None:
        self.levels, self.norm = levels, norm

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The rounded tensors, at the scale of the candidate; `observed` is not used."""
        return [value + (self._rounded(value) - value).detach() for value in candidate]

    def _rounded(self, value: Tensor) -> Tensor:
        scale = _positive(torch.linalg.vector_norm(value) if self.norm == "l2" else value.abs().amax())
        return scale * (value / scale * self.levels).round() / self.levels


def _positive(length: Tensor) -> Tensor:
    """The length, or 1 where it is zero."""
    return torch.where(length > 0, length, torch.ones_like(length))
