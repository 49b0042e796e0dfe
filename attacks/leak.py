"""What an attack may see (Leak) and what it returns (Reconstruction); nothing else crosses the line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradinv.attacks.grants import BN_STATISTICS, LABELS, level_of
from gradinv.attacks.update import create_update
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
    create_update(text)
    return text


class ThreatModel(BaseModel):
    """What the attacker is granted; part of every record and row.

    The levels of `bn_statistics` and `labels` stand in `grants.py`, the kinds of `update` in `update.py`; a name that
    is in neither is a ValidationError. `adaptive`: the attacker knows the defense.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bn_mode: Literal["eval", "train"] = "eval"
    bn_statistics: Annotated[str, AfterValidator(_statistics_level)] = "running"
    labels: Annotated[str, AfterValidator(_label_level)] = "known"
    update: Annotated[str, AfterValidator(_update)] = "gradient"
    max_equal_labels: int = Field(default=1, ge=1, lt=2**63, strict=True)
    adaptive: bool = Field(default=False, strict=True)


@dataclass(frozen=True)
class Leak:
    """What the server received and what the threat model adds to it.

    `gradients` maps the victim's parameter names to the observed gradient of the mean cross-entropy over the batch.
    `mean` and `std` (one number a channel) say how the victim normalises images in [0, 1]. `labels` (batch_size,) are
    there only if granted: in slot order for `known`, sorted for `counts`. `bn_statistics` holds one (mean, biased
    variance) pair a batch-norm layer, in module order, as the level granted makes them. `transform` is the key of what
    an attacker who knows the defense may apply to a candidate's update (`transforms.py`); empty where there is nothing.
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
        )

    def save(self, path: Path) -> None:
        """Write the leak to one safetensors file: all that another process needs to run the attack."""
        # safetensors refuses tensors that are not contiguous, and autograd may leave gradients transposed.
        tensors = {f"gradient/{name}": value.contiguous() for name, value in self.gradients.items()}
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
        """Read what `save` wrote; LeakError where the file holds no leak."""
        try:
            with safe_open(path, framework="pt") as file:
                public = json.loads(file.metadata()["leak"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return cls._of(public, tensors)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise LeakError(f"{path} holds no leak ({reason}); write one with Leak.save") from error

    @classmethod
    def _of(cls, public: dict[str, Any], tensors: dict[str, Tensor]) -> "Leak":
        layers = public["bn_layers"]
        return cls(
            gradients={name: tensors[f"gradient/{name}"] for name in public["names"]},
            batch_size=public["batch_size"],
            image_shape=tuple(public["image_shape"]),
            num_classes=public["num_classes"],
            mean=tuple(public["mean"]),
            std=tuple(public["std"]),
            threat_model=ThreatModel(**public["threat_model"]),
            transform=public["transform"],
            labels=tensors.get("labels"),
            bn_statistics=None
            if layers is None
            else tuple((tensors[f"bn/{i}/mean"], tensors[f"bn/{i}/var"]) for i in range(layers)),
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
    ones and, by reason, the rejected ones. `engine` names how candidates were evaluated.
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
