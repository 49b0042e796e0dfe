"""Defenses by name; listing their names imports no torch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradinv.attacks.registry import Paper, Parametrised
from gradinv.metrics.registry import Registry, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from torch import Generator, Tensor, nn

_PLACES = {"on_model": "model", "on_batch": "data", "on_step": "update", "on_update": "update"}
"""Hook -> where a defense acts that fills it in."""


class UndefendableError(RequestError):
    """A client that cannot defend itself so, in words: the cell is skipped with them as its reason."""


@dataclass(frozen=True)
class ClientStep:
    """What a client has at hand while it defends its update: its network in its mode, and the batch that it saw.

    `images` (B, C, H, W) are normalised, `labels` class indices (B,) or probabilities; `drawn` are the buffers (B, ...)
    that its passes use in place of the network's own, and `module` has them. `compute` gives the undefended update of
    any batch with such buffers; `update` is its key, `bn_mode` the mode of the network's batch-norm layers.
    """

    module: "nn.Module"
    images: "Tensor"
    labels: "Tensor"
    bn_mode: str
    update: str
    compute: "Callable[[Tensor, Tensor, Mapping[str, Tensor]], dict[str, Tensor]]"
    drawn: "Mapping[str, Tensor]" = field(default_factory=dict)


class Defense(Parametrised):
    """What the client does against being inverted; hyperparameters are keyword-only and typed.

    A defense fills in the hooks that it needs, in the order in which a client comes to them; each is the identity
    otherwise. Random draws come from `generator`, a CPU generator of the trial's own, so that every device draws alike
    and nobody can draw the same. What it declares beside them is for tables, the standard suite and the tests of all
    entries.
    """

    changes_model: bool = False
    """Declared True by a defense that fills in `on_model`."""

    computes_update: bool = False
    """Declared True where `on_step` does not start from the update that it is given: such a defense stands first."""

    randomises: bool = False
    """Whether two clients with one batch send different things; a standard attack may then overestimate protection."""

    acts: "tuple[str, ...]" = ()
    """Where it acts: data, model, update, per example. From the hooks that are filled in, unless declared."""

    knowable: str = ""
    """What an attacker can know of it, in words."""

    unanswered: str = ""
    """Why one who knows it does no more than one who does not, in words; empty where `known` answers."""

    cost: str = ""
    """What it costs the client, in words."""

    grid: "tuple[str, ...]" = ()
    """Keys of its three standard settings, the weakest first."""

    neutral: str = ""
    """Key of the setting at which it changes no bit; empty: there is none, and `never_neutral` says why."""

    keeps_zeros: bool = False
    """Whether what is zero in the update is zero in what it sends."""

    sends_signs: bool = False
    """Whether nothing but signs is left of what it sends."""

    never_neutral: str = ""
    """Why no setting is neutral, in words."""

    def __init_subclass__(cls, **kwargs: "Any") -> None:
        """TypeError for a class that fills in `on_model` without saying so: trials that share a network rely on it."""
        super().__init_subclass__(**kwargs)
        body = vars(cls)
        # Only the class's own body is asked: who inherits `on_model` inherits its declaration with it.
        if "on_model" in body and not cls.changes_model:
            raise TypeError(f"{cls.__name__} fills in on_model; declare `changes_model = True` in the class")
        if "acts" not in body:
            cls.acts = tuple(dict.fromkeys([*cls.acts, *(place for hook, place in _PLACES.items() if hook in body)]))

    @property
    def disguises(self) -> "tuple[str, ...]":
        """What it does, in words, by which an attack that is not made against it may fail without being stopped."""
        kinds = {"randomises": self.randomises, "changes the network": self.changes_model}
        return tuple(words for words, holds in kinds.items() if holds)

    @property
    def public_datasets(self) -> "tuple[str, ...]":
        """Names of the data sets of whose public images it makes use: its results depend on them."""
        return ()

    def on_model(self, module: "nn.Module") -> "nn.Module":
        """The network that the client trains, and that the server therefore knows; `module` itself is left alone."""
        return module

    def on_batch(self, images: "Tensor", labels: "Tensor", generator: "Generator") -> "tuple[Tensor, Tensor]":
        """What the network sees instead of normalised images (B, C, H, W) and labels (B,).

        Labels may become probabilities (B, classes), without the last classes where these have none, and of less than 1
        together where a part of an image has no label. The same tensors where nothing is changed; UndefendableError
        where that is impossible.
        """
        return images, labels

    def draws(self, module: "nn.Module", batch_size: int, generator: "Generator") -> "dict[str, Tensor]":
        """Buffers by name that the client's passes use in place of the network's own, a row an image: inner noise."""
        return {}

    def public_like(self, images: "Tensor") -> "Tensor":
        """The public images (n, C, H, W) that it mixes in, of the size, type and device of a batch; mostly none."""
        return images[:0]

    def on_step(self, update: "dict[str, Tensor]", step: ClientStep, generator: "Generator") -> "dict[str, Tensor]":
        """What is sent of the update, by a client who has its network and its batch at hand.

        UndefendableError where that is impossible.
        """
        return self.on_update(update, generator)

    def on_update(self, update: "dict[str, Tensor]", generator: "Generator") -> "dict[str, Tensor]":
        """What is sent of the update, under the same names."""
        return update

    def known(self) -> str:
        """Key of the transform that an attacker who knows the defense applies to candidates; empty: there is none."""
        return ""

    def known_before(self, later: "Sequence[Defense]") -> str:
        """The same where these others work, in their order, on what this one leaves; empty where they spoil it."""
        return self.known()

    def upload_bytes(self, sent: "Mapping[str, Tensor]") -> float:
        """Bytes that this client uploads a round; what is sent is written as dense numbers unless a defense says."""
        return dense_bytes(sent)


def dense_bytes(sent: "Mapping[str, Tensor]") -> float:
    """Bytes of all entries as they are."""
    return float(sum(value.numel() * value.element_size() for value in sent.values()))


DEFENSES: "Registry[type[Defense]]" = Registry(
    "defense", package="gradinv.benchmark.defenses", decorator="register_defense", group="gradinv.defenses"
)


def register_defense(name: str, *, paper: Paper | None) -> "Callable[[type[Defense]], type[Defense]]":
    """Decorator that registers a defense class under `name`."""
    return DEFENSES.register(name, paper=paper)
