"""What the attacker is granted, and what of it the attacker is told."""

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from gradinv.attacks.grants import AUXILIARY, BN_STATISTICS, LABELS, level_of
from gradinv.attacks.update import SIMULATION, canonical_update, known_update


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


def _auxiliary(name: str) -> str:
    level_of(AUXILIARY, "auxiliary_images", name)
    return name


LATER_GRANTS = (
    "buffers",
    "client_precision",
    "simulation",
    "equal_labels",
    "observations",
    "server_lr",
    "auxiliary_images",
)
"""Fields of a threat model that came after records had been written."""


class ThreatModel(BaseModel):
    """What the attacker is granted; part of every record and row.

    The levels of `bn_statistics`, `labels` and `auxiliary_images` stand in `grants.py`, the kinds of `update` in
    `update.py`; a name that is in none is a ValidationError. `adaptive`: the attacker knows the defense. `buffers`:
    whether the client sends the network's buffers beside the update. `client_precision`: what the client computes in
    and sends. `simulation`: what the attacker knows of the local training behind a weight update; a gradient leaves
    nothing to know. `max_equal_labels`: how often a label may occur, as everybody knows; `equal_labels`: how often the
    first one does occur, which nobody is told. `observations`: how many updates of the same batch are received, one a
    round; after each the server subtracts `server_lr` times what it received from the weights (1: as in federated
    averaging).
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
    observations: int = Field(default=1, ge=1, le=1_000, strict=True)
    server_lr: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    auxiliary_images: Annotated[str, AfterValidator(_auxiliary)] = "none"

    @model_validator(mode="after")
    def _may_be_equal(self) -> Self:
        if self.equal_labels > self.max_equal_labels:
            raise ValueError(f"equal_labels {self.equal_labels} needs max_equal_labels of at least {self.equal_labels}")
        return self

    @model_validator(mode="after")
    def _moves_between_rounds(self) -> Self:
        # Else one experiment would have two names, and two ids.
        if self.observations == 1 and self.server_lr != 1.0:
            raise ValueError("server_lr moves the network between rounds; it needs observations of at least 2")
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
