"""Parts of gradient matching by key, such as `top[share=0.3]`; importing this file imports neither torch nor a part."""

from typing import TYPE_CHECKING, Any, TypeVar

from gradinv.metrics.keys import checked_arguments, parse_key
from gradinv.metrics.registry import Registry, UnknownNameError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradinv.attacks.gradient_matching.distances import Distance
    from gradinv.attacks.gradient_matching.inits import Init

Part = TypeVar("Part")

DISTANCES: "Registry[type[Distance]]" = Registry(
    "distance", package="gradinv.attacks.gradient_matching", decorator="register_distance", group="gradinv.distances"
)

INITS: "Registry[type[Init]]" = Registry(
    "init", package="gradinv.attacks.gradient_matching", decorator="register_init", group="gradinv.inits"
)


def register_distance(name: str) -> "Callable[[type[Distance]], type[Distance]]":
    """Decorator that registers a distance class, whose parameters have defaults and one is `scale`, under `name`."""
    return DISTANCES.register(name)


def create_distance(text: str, scale: float = 1.0) -> "Distance":
    """The distance of a key, times `scale`.

    UnknownNameError for an unknown one, InvalidEntryError for a wrong parameter.

    >>> create_distance("top[share=0.3]", scale=2.0).scale
    2.0
    """
    target, given = _part(DISTANCES, text)
    return target(**{**given, "scale": scale * given.get("scale", 1.0)})


def register_init(name: str) -> "Callable[[type[Init]], type[Init]]":
    """Decorator that registers an init class, whose parameters have defaults, under `name`."""
    return INITS.register(name)


def create_init(text: str) -> "Init":
    """The init of a key such as `patterned[size=8]`; errors as of `create_distance`."""
    target, given = _part(INITS, text)
    return target(**given)


def _part(registry: "Registry[type[Part]]", text: str) -> tuple["type[Part]", dict[str, Any]]:
    """The class of a key, and its arguments."""
    key = parse_key(text)
    if key.preset:
        raise UnknownNameError(unknown(registry.kind, text, registry.names()))
    target = registry.get(key.name).target
    return target, checked_arguments(f"{registry.kind} {key.name!r}", target, key.parameters)
