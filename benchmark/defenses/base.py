"""Defenses by name; listing their names imports no torch."""

from typing import TYPE_CHECKING

from gradinv.attacks.registry import Paper, Parametrised
from gradinv.metrics.keys import Key, checked_arguments, parse_key
from gradinv.metrics.registry import Registry, UnknownNameError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from torch import Generator, Tensor, nn


class Defense(Parametrised):
    """What the client does against being inverted; hyperparameters are keyword-only and typed.

    A defense fills in the hooks that it needs, in the order in which a client comes to them; each is the identity
    otherwise. Random draws come from `generator`, a CPU generator, so that every device draws alike.
    """

    changes_model: "ClassVar[bool]" = False
    """Declared True by a defense that fills in `on_model`."""

    def __init_subclass__(cls, **kwargs: "Any") -> None:
        """TypeError for a class that fills in `on_model` without saying so: trials that share a network rely on it."""
        super().__init_subclass__(**kwargs)
        # Only the class's own body is asked: who inherits `on_model` inherits its declaration with it.
        if "on_model" in vars(cls) and not cls.changes_model:
            raise TypeError(f"{cls.__name__} fills in on_model; declare `changes_model = True` in the class")

    def on_model(self, module: "nn.Module") -> "nn.Module":
        """The network that the client trains, and that the server therefore knows; `module` itself is left alone."""
        return module

    def on_batch(self, images: "Tensor", labels: "Tensor", generator: "Generator") -> "tuple[Tensor, Tensor]":
        """What the network sees instead of normalised images (B, C, H, W) and labels (B,).

        Labels may become probabilities (B, classes). The same tensors where nothing is changed.
        """
        return images, labels

    def on_update(self, update: "dict[str, Tensor]", generator: "Generator") -> "dict[str, Tensor]":
        """What is sent of the update, under the same names."""
        return update

    def known(self) -> str:
        """Key of the transform that an attacker who knows the defense applies to candidates; empty: there is none."""
        return ""


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
    # Only attacks have presets; to drop one in silence would run another defense than the one that was asked for.
    if key.preset:
        raise UnknownNameError(unknown("preset", f"{key.name}.{key.preset}", []))
    return Key(key.name, "", checked_arguments(f"defense {key.name!r}", entry.target, key.parameters))


def create_defense(text: str) -> Defense:
    """The defense of a key such as `gaussian_noise[sigma=0.01]`; raises UnknownNameError or InvalidEntryError."""
    key = canonical_defense(text)
    return DEFENSES.get(key.name).target(**key.parameters)
