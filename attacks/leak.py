"""What an attack may see (Leak) and what it returns (Reconstruction); nothing else crosses the line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradinv.attacks.grants import BN_STATISTICS, LABELS, level_of
from gradinv.attacks.update import SIMULATION, canonical_update, known_update
from gradinv.metrics.registry import RequestError

Statistics = tuple[tuple[Tensor, Tensor], ...]


class LeakError(RequestError):
    """A leak that is not one of the victim's, or a file that holds none; its text names what is wrong."""


# Validators and not `Literal` types: the tables in `grants.py` and `update.py` are the only lists of what is allowed.
def _statistics_level(name: str) -> str:
    level_of(BN_STATISTICS, "bn_statistics", name)
    return name


def _label_level(name: str) -> str:
    level_of(LABELS, "labels", name)
    return name


def _update(text: str) -> str:
    return canonical_update(text)


def _simulation(name: str) -> str:
    level_of(SIMULATION, "simulation", name)
    return name


LATER_GRANTS = ("buffers", "client_precision", "simulation", "equal_labels")
"""Fields of a threat model that came after records had been written."""


class ThreatModel(BaseModel):
    """What the attacker is granted; part of every record and row.

    The levels of `bn_statistics` and `labels` stand in `grants.py`, the kinds of `update` in `update.py`; a name that
    is in neither is a ValidationError. `adaptive`: the attacker knows the defense. `buffers`: whether the client sends
    the network's buffers beside the update. `client_precision`: what the client computes in and sends. `simulation`:
    what the attacker knows of the local training behind a weight update; a gradient leaves nothing to know.
    `max_equal_labels`: how often a label may occur, as everybody knows; `equal_labels`: how often the first one does
    occur, which nobody is told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bn_mode: Literal["eval", "train"] = "eval"
    bn_statistics: Annotated[str, AfterValidator(_statistics_level)] = "running"
    labels: Annotated[str, AfterValidator(_label_level)] = "known"
    update: Annotated[str, AfterValidator(_update)] = "gradient"
    max_equal_labels: int = Field(default=1, ge=1, lt=2**63, strict=True)
    adaptive: bool = Field(default=False, strict=True)
    buffers: Literal["withheld", "sent"] = "withheld"
    client_precision: Literal["float32", "float64"] = "float32"
    simulation: Annotated[str, AfterValidator(_simulation)] = "strong"
    equal_labels: int = Field(default=1, ge=1, lt=2**63, strict=True)

    @model_validator(mode="after")
    def _may_be_equal(self) -> Self:
        if self.equal_labels > self.max_equal_labels:
            raise ValueError(f"equal_labels {self.equal_labels} needs max_equal_labels of at least {self.equal_labels}")
        return self

    # At their defaults later fields are left out, so that ids of earlier trials stay what they were.
    @model_serializer(mode="wrap")
    def _dumped(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        later = {name: ThreatModel.model_fields[name].default for name in LATER_GRANTS}
        return {name: value for name, value in fields.items() if name not in later or value != later[name]}

    @property
    def dtype(self) -> torch.dtype:
        """The type of numbers that the client computes in and sends."""
        return torch.float64 if self.client_precision == "float64" else torch.float32

    @property
    def known_update(self) -> str:
        """The key of the update as far as the attacker knows how it is computed."""
        return known_update(self.update, self.simulation)

    def as_granted(self) -> "ThreatModel":
        """The threat model as it stands in a leak: without what is withheld of the local training and the labels."""
        return self.model_copy(update={"update": self.known_update, "equal_labels": 1})


Count = Annotated[int, Field(ge=1, le=2**20, strict=True)]
"""No more than any machine attacks: a slip in a file is to be a line, and not to fill the memory."""


class _Metadata(BaseModel):
    """What stands in a leak file beside the tensors, as JSON: docs/leak-file.md says what each field means."""

    model_config = ConfigDict(extra="forbid")

    batch_size: Count
    image_shape: tuple[Count, Count, Count]
    num_classes: Annotated[int, Field(ge=2, le=2**20, strict=True)]
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    names: tuple[str, ...] | None = None
    threat_model: dict[str, Any] = {}
    transform: str = ""
    bn_layers: int | None = None


@dataclass(frozen=True)
class Leak:
    """What the server received and what the threat model adds to it.

    `gradients` maps the victim's parameter names to the observed gradient of the mean cross-entropy over the batch.
    `mean` and `std` (one number a channel) say how the victim normalises images in [0, 1]. `labels` (batch_size,) are
    there only if granted: in slot order for `known`, sorted for `counts`. `bn_statistics` holds one (mean, biased
    variance) pair a batch-norm layer, in module order, as the level granted makes them. `transform` is the key of what
    an attacker who knows the defense may apply to a candidate's update (`transforms.py`); empty where there is nothing.
    `buffers` are the network's after the client's pass, by name, where the client sent them.
    """

    gradients: dict[str, Tensor]
    batch_size: int
    image_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    threat_model: ThreatModel = field(default_factory=ThreatModel)
    labels: Tensor | None = None
    bn_statistics: Statistics | None = None
    transform: str = ""
    buffers: dict[str, Tensor] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W) of the private batch."""
        return (self.batch_size, *self.image_shape)

    def to(self, device: torch.device) -> "Leak":
        """The same leak with its tensors on `device`."""
        return replace(
            self,
            gradients={name: value.to(device) for name, value in self.gradients.items()},
            labels=None if self.labels is None else self.labels.to(device),
            bn_statistics=None
            if self.bn_statistics is None
            else tuple((mean.to(device), var.to(device)) for mean, var in self.bn_statistics),
            buffers=None if self.buffers is None else {name: value.to(device) for name, value in self.buffers.items()},
        )

    def save(self, path: Path) -> None:
        """Write the leak to one safetensors file: all that another process needs to run the attack."""
        # safetensors refuses tensors that are not contiguous or share memory; autograd may leave gradients so.
        tensors = {
            f"gradient/{name}": value.clone(memory_format=torch.contiguous_format)
            for name, value in self.gradients.items()
        }
        tensors |= {f"buffer/{name}": value.contiguous() for name, value in (self.buffers or {}).items()}
        if self.labels is not None:
            tensors["labels"] = self.labels
        for index, (mean, var) in enumerate(self.bn_statistics or ()):
            tensors |= {f"bn/{index}/mean": mean.contiguous(), f"bn/{index}/var": var.contiguous()}
        public = {
            # Beside the tensors, because safetensors does not keep their order.
            "names": list(self.gradients),
            "batch_size": self.batch_size,
            "image_shape": self.image_shape,
            "num_classes": self.num_classes,
            "mean": self.mean,
            "std": self.std,
            "threat_model": self.threat_model.model_dump(),
            "transform": self.transform,
            # A number, because in the file no statistics (None) and those of no layer (0) look alike.
            "bn_layers": None if self.bn_statistics is None else len(self.bn_statistics),
        }
        save_file(tensors, path, metadata={"leak": json.dumps(public)})

    @classmethod
    def load(cls, path: Path) -> "Leak":
        """Read what `save` or anybody's training code wrote (docs/leak-file.md); LeakError where a file is no leak."""
        try:
            with safe_open(path, framework="pt") as file:
                public = _Metadata.model_validate_json((file.metadata() or {})["leak"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return cls._of(public, tensors)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise LeakError(
                f"{path} holds no leak ({_reason(error)}); write one with Leak.save, or as docs/leak-file.md says"
            ) from error

    @classmethod
    def _of(cls, public: _Metadata, tensors: dict[str, Tensor]) -> "Leak":
        gradients, buffers = _below("gradient/", tensors), _below("buffer/", tensors)
        layers = sum(name.startswith("bn/") for name in tensors) // 2 or public.bn_layers
        statistics = None if layers is None else [(f"bn/{i}/mean", f"bn/{i}/var") for i in range(layers)]
        expected = {name for pair in statistics or () for name in pair} | {"labels"}
        strange = [name for name in tensors if not name.startswith(("gradient/", "buffer/")) and name not in expected]
        names = public.names or tuple(gradients)
        if strange:
            raise LeakError(f"no tensor of a leak is called {strange[0]}")
        if unlisted := [name for name in gradients if name not in names]:
            raise LeakError(f"names does not list {unlisted[0]}")
        # What is granted by being there, unless the file says otherwise.
        granted = {
            "labels": "known" if "labels" in tensors else "none",
            "bn_statistics": "exact" if statistics else "running",
        }
        return cls(
            gradients={name: tensors[f"gradient/{name}"] for name in names},
            batch_size=public.batch_size,
            image_shape=public.image_shape,
            num_classes=public.num_classes,
            mean=public.mean,
            std=public.std,
            threat_model=ThreatModel(**granted | public.threat_model),
            transform=public.transform,
            labels=tensors.get("labels"),
            bn_statistics=None
            if statistics is None
            else tuple((tensors[mean], tensors[var]) for mean, var in statistics),
            buffers=buffers or None,
        )

    def require_fit(self, parameters: Mapping[str, Tensor], bn_channels: Sequence[int]) -> None:
        """Nothing for a leak of a network with these trained parameters and channels of batch-norm layers.

        LeakError in one line for gradients that are missing, unknown, or of another shape or type than their parameter
        (a tensor of another shape would be broadcast against it), for statistics of other layers, and for labels that
        are not those of such a batch.
        """
        faults = [
            *(f"{name} is missing" for name in parameters if name not in self.gradients),
            *(f"{name} is no parameter that the victim trains" for name in self.gradients if name not in parameters),
            *(
                f"{name} is {_kind(self.gradients[name])} and not {_kind(parameter)}"
                for name, parameter in parameters.items()
                if name in self.gradients and _kind(self.gradients[name]) != _kind(parameter)
            ),
            *self._faults_beside(bn_channels),
        ]
        if faults:
            more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise LeakError(f"the leak does not fit the victim: {', '.join(faults[:3])}{more}")

    def _faults_beside(self, bn_channels: Sequence[int]) -> list[str]:
        """What is wrong with all but the gradients."""
        faults = []
        if self.bn_statistics is not None:
            shapes = [tuple(value.shape) for pair in self.bn_statistics for value in pair]
            if shapes != [(channels,) for channels in bn_channels for _ in range(2)]:
                faults.append("the batch-norm statistics are not those of the victim's layers")
        if self.labels is not None and (
            tuple(self.labels.shape) != (self.batch_size,)
            or self.labels.is_floating_point()
            or not bool(((self.labels >= 0) & (self.labels < self.num_classes)).all())
        ):
            faults.append(f"the labels are not {self.batch_size} class indices below {self.num_classes}")
        if not len(self.mean) == len(self.std) == self.image_shape[0]:
            faults.append(f"mean and std are not {self.image_shape[0]} numbers each, one a channel")
        return faults


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _reason(error: Exception) -> str:
    """Why a file holds no leak, in one line of bounded length."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]  # the others mostly follow from it
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else f"metadata: {first['msg']}"
    if isinstance(error, KeyError) and not isinstance(error, RequestError):
        name = str(error.args[0])
        return "it has no metadata of the key 'leak'" if name == "leak" else f"the tensor {name} is missing"
    text = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200]


def _kind(tensor: Tensor) -> str:
    """Shape and type of a tensor, in words."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Reconstruction:
    """What an attack returns.

    `images` (B, C, H, W) is what is scored, normalised as the victim sees images; `final` is the last iterate.
    `labels` (B,) are the attack's own, `label_method` is given | inferred:<rule> | optimised, `uses` names what of the
    grant was used. `curve` holds (evaluations spent, objective), `snapshots` the iterates kept at `snapshot_at`
    evaluations. `evaluations` counts parameter gradients of one candidate batch: closures, agents and restarts alike.
    `stopped` says why the budget was not spent; empty where it was. Several agents add their `consensus` and its
    `spread`, both (B, C, H, W): the standard deviation over the agents once aligned; `alignments` counts the accepted
    ones and, by reason, the rejected ones. `engine` names how candidates were evaluated. A result may be partial:
    `filled` (B,) says which slots hold an image, None for all; what stands in the others is never looked at.
    `certified` (B,) says of which images the attack has proved, without any original, that they were in the batch that
    the update is of; None for an attack that proves nothing.
    """

    images: Tensor
    final: Tensor
    labels: Tensor
    label_method: str
    uses: tuple[str, ...] = ()
    objective_start: float | None = None
    objective_end: float | None = None
    evaluations: int = 0
    diverged: bool = False
    curve: tuple[tuple[int, float], ...] = ()
    snapshots: tuple[Tensor, ...] = ()
    snapshot_at: tuple[int, ...] = ()
    consensus: Tensor | None = None
    spread: Tensor | None = None
    alignments: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    notes: tuple[str, ...] = ()
    engine: str = "eager"
    filled: Tensor | None = None
    certified: Tensor | None = None
