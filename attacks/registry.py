"""The attacks by key, and their presets; importing this file imports neither torch nor any attack."""

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gradinv.metrics.keys import Key, bracketed, checked_arguments, parse_key
from gradinv.metrics.registry import InvalidEntryError, Registry, UnknownNameError, natural_key, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradinv.attacks.attack import Attack


@dataclass(frozen=True)
class Paper:
    """Where a method was published; `url` and `bibtex` are what a user cites it by."""

    title: str
    authors: str
    venue: str
    year: int
    url: str

    @property
    def bibtex(self) -> str:
        """A BibTeX entry."""
        first = self.authors.split(",")[0].split()[-1].lower()
        return (
            f"@misc{{{first}{self.year},\n  title = {{{self.title}}},\n  author = {{{self.authors}}},\n"
            f"  howpublished = {{{self.venue}}},\n  year = {{{self.year}}},\n  url = {{{self.url}}}\n}}"
        )


# Cached, because attacks and defenses are made anew for every trial, and their signatures never change.
_signature = functools.cache(inspect.signature)


class Parametrised:
    """Keeps the hyperparameters that it is made with, defaults included, and prints them."""

    hyperparameters: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Missing arguments are left to `__init__` to refuse, and to `copy`, which makes an object without any."""
        # In `__new__`, so that a subclass need neither call `super().__init__` nor name its parameters a second time.
        self = super().__new__(cls)
        signature = _signature(cls.__init__)
        bound = signature.bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        # What `*args` and `**kwargs` collect has no names by which the same object could be made again.
        collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        _, *names = [name for name, parameter in signature.parameters.items() if parameter.kind not in collecting]
        self.hyperparameters = {name: bound.arguments[name] for name in names if name in bound.arguments}
        return self

    def __repr__(self) -> str:
        """Class name and all hyperparameters."""
        return f"{type(self).__name__}{bracketed(self.hyperparameters)}"


ATTACKS: "Registry[type[Attack]]" = Registry(
    "attack", package="gradinv.attacks", decorator="register_attack", group="gradinv.attacks"
)
PRESETS: "Registry[dict[str, Any]]" = Registry(
    "preset", package="gradinv.attacks", decorator="register_preset", group="gradinv.presets"
)


def register_attack(
    name: str, *, paper: Paper, exact: bool = False, letter: str = "B", needs: str = ""
) -> "Callable[[type[Attack]], type[Attack]]":
    """Decorator that registers an attack class under `name`.

    `exact`: it solves for the images and does not search for them. `letter` is the least threat model of the SoK of
    Carletti et al. (USENIX Security 2025) under which it can be run; that of a row follows from what was granted.
    `needs` says in words what of the network, the batch or the grant it cannot do without.
    """
    return ATTACKS.register(name, paper=paper, exact=exact, letter=letter, needs=needs)


def register_preset(key: str, **parameters: Any) -> None:
    """Register `name.preset` as the attack `name` with these hyperparameters."""
    if "." not in key:
        raise InvalidEntryError(f"preset {key!r} is written name.preset")
    PRESETS.register(key)(parameters)


def register_tuned(key: str, digest: str, parameters: dict[str, Any]) -> None:
    """Register `name.preset` with hyperparameters that were tuned, by the file of that hash.

    InvalidEntryError where another preset has the name.
    """
    if key in PRESETS:
        PRESETS.get(key)  # a built-in one is registered only when it is asked for
    PRESETS.register(key, tuned=digest)(parameters)


def tuned_hash(key: Key) -> str:
    """Hash of the file that all hyperparameters of a key come from; empty where they come from anywhere else."""
    name = f"{key.name}.{key.preset}"
    if not key.preset or key.parameters or name not in PRESETS:
        return ""
    return str(PRESETS.declaration(name).get("tuned", ""))


def attack_keys() -> list[str]:
    """Every attack and preset that can be asked for, in natural order."""
    return sorted([*ATTACKS.names(), *PRESETS.names()], key=natural_key)


def hyperparameters(key: Key) -> dict[str, Any]:
    """The preset's parameters with the key's own on top, validated against the attack's signature."""
    entry = ATTACKS.get(key.name)
    preset: dict[str, Any] = {}
    if key.preset:
        try:
            preset = PRESETS.get(f"{key.name}.{key.preset}").target
        except UnknownNameError:
            valid = PRESETS.names(f"{key.name}.*")
            raise UnknownNameError(unknown("preset", f"{key.name}.{key.preset}", valid)) from None
    # The preset's are checked with the key's own, which go over them: it may come from a file of another version.
    return checked_arguments(f"attack {key.name!r}", entry.target, {**preset, **key.parameters})


def create_attack(text: str) -> "Attack":
    """The attack of a key such as `gradinversion.no_bn[lr=0.05]`.

    Raises UnknownNameError for an unknown attack or preset, InvalidEntryError for a wrong parameter.
    """
    key = parse_key(text)
    return ATTACKS.get(key.name).target(**hyperparameters(key))
