"""Defenses by name; listing their names imports no torch."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from gradinv.attacks.registry import Paper, Parametrised
from gradinv.metrics.keys import Key, checked_arguments, parse_key
from gradinv.metrics.registry import Registry, UnknownNameError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor


class Defense(Parametrised, ABC):
    """What the client does to its gradients before it sends them; hyperparameters are keyword-only and typed."""

    @abstractmethod
    def apply(self, gradients: "dict[str, Tensor]", generator: "Generator") -> "dict[str, Tensor]":
        """The gradients that are sent, under the same names; random draws come from `generator` (a CPU generator)."""


DEFENSES: "Registry[type[Defense]]" = Registry(
    "defense", package="gradinv.benchmark.defenses", decorator="register_defense", group="gradinv.defenses"
)


def register_defense(name: str, *, paper: Paper | None) -> "Callable[[type[Defense]], type[Defense]]":
    """Decorator that registers a defense class under `name`."""
    return DEFENSES.register(name, paper=paper)


def canonical_defense(text: str) -> Key:
    """The key with its parameters validated; raises UnknownNameError or InvalidEntryError."""
    key = parse_key(text)
    entry = DEFENSES.get(key.name)
    if key.preset:
        raise UnknownNameError(unknown("preset", f"{key.name}.{key.preset}", []))
    return Key(key.name, "", checked_arguments(f"defense {key.name!r}", entry.target, key.parameters))


def create_defense(text: str) -> Defense:
    """The defense of a key such as `gaussian_noise[sigma=0.01]`; raises UnknownNameError or InvalidEntryError."""
    key = canonical_defense(text)
    return DEFENSES.get(key.name).target(**key.parameters)
