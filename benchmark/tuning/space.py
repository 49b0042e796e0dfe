"""What there is to tune of an attack: ranges of its hyperparameters around the values that it comes with."""

from dataclasses import dataclass

from gradinv.attacks.registry import create_attack
from gradinv.metrics.keys import Key, parse_key
from gradinv.metrics.registry import RequestError

DIGITS = 4
"""Significant ones of a value that is tried, so that a key can be read; the values that it comes with stay exact."""


class TuneError(RequestError):
    """A tuning that is impossible; its text says why in one line."""


@dataclass(frozen=True)
class Space:
    """`ranges`: hyperparameter -> lowest and highest value, searched log-uniformly; `published`: where it starts."""

    key: Key
    ranges: dict[str, tuple[float, float]]
    published: dict[str, float]

    def key_of(self, values: dict[str, float]) -> str:
        """The attack's key with these values, canonical."""
        rounded = {
            name: value if value == self.published[name] else float(f"{value:.{DIGITS}g}")
            for name, value in values.items()
        }
        return str(Key(self.key.name, self.key.preset, {**self.key.parameters, **rounded}))


def space_of(attack: str) -> Space:
    """The space that an attack declares (`Attack.search_space`), around the values of its preset.

    What the key itself sets in brackets stands, and what is 0 is left out: a term that is off stays off. TuneError
    where nothing is left.

    >>> space_of("inverting_gradients[lr=0.05]").ranges
    {'alpha_tv': (0.0001, 100.0)}
    """
    key, made = parse_key(attack), create_attack(attack)
    factors = {name: factor for name, factor in made.search_space.items() if name not in key.parameters}
    published = {name: float(made.hyperparameters[name]) for name in factors if made.hyperparameters[name]}
    if not published:
        reason = "sets all that there is" if made.search_space else "declares no hyperparameter"
        raise TuneError(f"{attack} {reason} to tune")
    ranges = {name: (value / factors[name], value * factors[name]) for name, value in published.items()}
    return Space(key, ranges, published)
