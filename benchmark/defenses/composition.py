"""Defenses from keys, also several in a stated order: `clipping[max_norm=1]+gaussian_noise[sigma=0.01]`."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gradinv.benchmark.defenses.base import DEFENSES, ClientStep, Defense
from gradinv.metrics.keys import Key, checked_arguments, parse_key, split_keys
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError, unknown

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

NONE = "none"
LEFT_OUT = "ignored"
ON_UPDATE = {"update", "per example"}


class Composed(Defense):
    """Several defenses, each of which defends what the ones before it have left; hook by hook, in their order."""

    # For the check of classes, since `on_model` stands below; an object says what its parts do.
    changes_model = True

    def __init__(self, parts: Sequence[Defense]) -> None:
        self.parts = tuple(parts)
        self.changes_model = any(part.changes_model for part in self.parts)
        self.randomises = any(part.randomises for part in self.parts)
        self.acts = tuple(dict.fromkeys(place for part in self.parts for place in part.acts))
        self.knowable = "; ".join(part.knowable for part in self.parts if part.knowable)
        self.unanswered = "; ".join(filter(None, map(self._unanswered_of, range(len(parts)))))
        self.cost = "; ".join(part.cost for part in self.parts if part.cost)

    def __repr__(self) -> str:
        """The parts, in their order."""
        return "+".join(map(repr, self.parts))

    @property
    def public_datasets(self) -> tuple[str, ...]:
        """Those of every part."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.public_datasets))

    def on_model(self, module: "nn.Module") -> "nn.Module":
        """The network after every part."""
        for part in self.parts:
            module = part.on_model(module)
        return module

    def on_batch(self, images: "Tensor", labels: "Tensor", generator: "Generator") -> "tuple[Tensor, Tensor]":
        """The batch after every part."""
        for part in self.parts:
            images, labels = part.on_batch(images, labels, generator)
        return images, labels

    def public_like(self, images: "Tensor") -> "Tensor":
        """Those of the first part that mixes some in."""
        return next((public for part in self.parts if len(public := part.public_like(images))), images[:0])

    def draws(self, module: "nn.Module", batch_size: int, generator: "Generator") -> "dict[str, Tensor]":
        """The buffers of every part."""
        drawn = [part.draws(module, batch_size, generator) for part in self.parts]
        return {name: value for buffers in drawn for name, value in buffers.items()}

    def on_step(self, update: "dict[str, Tensor]", step: ClientStep, generator: "Generator") -> "dict[str, Tensor]":
        """The update after every part."""
        for part in self.parts:
            update = part.on_step(update, step, generator)
        return update

    def on_update(self, update: "dict[str, Tensor]", generator: "Generator") -> "dict[str, Tensor]":
        """The update after every part, for parts that need no step."""
        for part in self.parts:
            update = part.on_update(update, generator)
        return update

    def known(self) -> str:
        """The transforms of the parts that have one, in the same order, but for tensors left out, which come last."""
        keys = [key for index in range(len(self.parts)) for key in self._known_of(index)]
        # What is left out of the distance counts in the norm that a later part clips, as in the client's own.
        return "+".join(sorted(keys, key=lambda key: parse_key(key).name == LEFT_OUT))

    def _known_of(self, index: int) -> Sequence[str]:
        known = self.parts[index].known_before(self._later(index))
        return split_keys(known) if known else []

    def _later(self, index: int) -> list[Defense]:
        """The parts that work on the update which the part of this index leaves."""
        # A network or a batch is changed before any update is there, wherever the part stands.
        first = index + 1 if ON_UPDATE & {*self.parts[index].acts} else 0
        return [part for part in self.parts[first:] if ON_UPDATE & {*part.acts}]

    def _unanswered_of(self, index: int) -> str:
        """Why who knows the part does no more than who does not, or why he does not here; empty where he does."""
        part = self.parts[index]
        if self._known_of(index):
            return ""
        if not part.known():
            return part.unanswered
        spoiled = " and ".join(type(other).__name__ for other in self._later(index) if not other.keeps_zeros)
        return f"what {type(part).__name__} left out shows as zeros, and {spoiled} fills them"

    def upload_bytes(self, sent: "Mapping[str, Tensor]") -> float:
        """The shortest of the parts' ways to write what is sent: a server understands each."""
        return min(part.upload_bytes(sent) for part in self.parts)


def defense_keys(text: str) -> tuple[Key, ...]:
    """The keys of a defense, validated, in their order; UnknownNameError or InvalidEntryError."""
    keys = tuple(map(_validated, split_keys(text)))
    if len(keys) > 1 and any(key.name == NONE for key in keys):
        raise InvalidEntryError(f"{text!r}: none is no part of a combination; leave it out")
    for earlier, key in ((keys[:index], key) for index, key in enumerate(keys)):
        places = {other.name: {*DEFENSES.get(other.name).target.acts} for other in earlier}
        before = [name for name, acts in places.items() if acts & ON_UPDATE]
        if before and DEFENSES.get(key.name).target.computes_update:
            raise InvalidEntryError(
                f"{text!r}: {key.name} computes the update anew and would undo {before[0]}; write {key.name} first"
            )
    return keys


def _validated(text: str) -> Key:
    key = parse_key(text)
    entry = DEFENSES.get(key.name)
    # Only attacks have presets; to drop one in silence would run another defense than the one that was asked for.
    if key.preset:
        raise UnknownNameError(unknown("preset", f"{key.name}.{key.preset}", []))
    return Key(key.name, "", checked_arguments(f"defense {key.name!r}", entry.target, key.parameters))


def canonical_defense(text: str) -> str:
    """The key with its parameters validated and sorted; raises UnknownNameError or InvalidEntryError.

    >>> canonical_defense("clipping[max_norm=1.0] + gaussian_noise[sigma=1e-2]")
    'clipping[max_norm=1.0]+gaussian_noise[sigma=0.01]'
    """
    return "+".join(map(str, defense_keys(text)))


def create_defense(text: str) -> Defense:
    """The defense of a key such as `gaussian_noise[sigma=0.01]`, or of several joined by `+`.

    Raises UnknownNameError or InvalidEntryError.
    """
    parts = [_made(DEFENSES.get(key.name).target, key) for key in defense_keys(text)]
    return parts[0] if len(parts) == 1 else Composed(parts)


def _made(target: Callable[..., Defense], key: Key) -> Defense:
    return target(**key.parameters)
