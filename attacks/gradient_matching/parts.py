"""Parts of gradient matching by key, such as `top[share=0.3]`; importing this file imports neither torch nor a part."""

from typing import TYPE_CHECKING

from gradinv.metrics.keys import checked_arguments, parse_key
from gradinv.metrics.registry import Registry, UnknownNameError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradinv.attacks.gradient_matching.distances import Distance

DISTANCES: "Registry[type[Distance]]" = Registry(
    "distance", package="gradinv.attacks.gradient_matching", decorator="register_distance", group="gradinv.distances"
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
    key = parse_key(text)
    if key.preset:
        raise UnknownNameError(unknown("distance", text, DISTANCES.names()))
    target = DISTANCES.get(key.name).target
    given = checked_arguments(f"distance {key.name!r}", target, key.parameters)
    return target(**{**given, "scale": scale * given.get("scale", 1.0)})
