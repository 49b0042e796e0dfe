"""A block of a suite: a grid of cells, every field of it validated."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from gradinv.attacks.grants import needs_public_images
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack, hyperparameters
from gradinv.attacks.update import create_update
from gradinv.benchmark.datasets import DataError, checked_image_size
from gradinv.benchmark.defenses import canonical_defense, create_defense
from gradinv.benchmark.experiment import CONTROLS, is_due
from gradinv.benchmark.victims import VictimSpec
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.images import METRICS, default_metrics
from gradinv.metrics.keys import Key, parse_key
from gradinv.metrics.registry import InvalidEntryError, RequestError, UnknownNameError, unknown

LARGEST_BATCH = 512
MOST_BATCHES = 10_000
"""Of one cell; each is drawn before anything runs."""
LARGEST_BUDGET = 10**8
"""Evaluations of one trial; at a millisecond each they take a day."""

# Strict, because `true` and 1.0 are the number one to pydantic.
BatchSize = Annotated[int, Field(strict=True)]
Batches = Annotated[int, Field(gt=0, le=MOST_BATCHES, strict=True)]
Budget = Annotated[int, Field(gt=0, le=LARGEST_BUDGET, strict=True)]


class SuiteError(RequestError):
    """A suite that cannot be run; its text is one line that says where it is wrong and how to mend it."""


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(Strict):
    """One grid: every attack against every victim, threat model, defense and batch size."""

    dataset: str = "photos"
    image_size: ImageSize | None = None
    victims: tuple[VictimSpec, ...] = Field(min_length=1)
    attacks: tuple[str, ...] = Field(min_length=1)
    controls: tuple[str, ...] = CONTROLS
    defenses: tuple[str, ...] = Field(default=("none",), min_length=1)
    threat_model: ThreatModel = ThreatModel()
    batch_sizes: tuple[BatchSize, ...] = Field(default=(1,), min_length=1)
    batches: Batches | dict[PositiveInt, Batches] = 8
    split: Literal["evaluation", "tuning"] = "evaluation"
    budget: Budget | Literal["paper"] = 1000
    # Asked for with every suite, since a plug-in may have registered a metric for every board meanwhile.
    metrics: tuple[str, ...] = Field(default_factory=default_metrics)

    # At its default a later field is left out, so that hashes of earlier suites stay what they were.
    @model_serializer(mode="wrap")
    def _dumped(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if "controls" in fields and not self._has_private_statistics:
            # A later control that makes no row here: `all` has it too.
            fields["controls"] = tuple(name for name in fields["controls"] if name != "other_statistics")
        return {name: value for name, value in fields.items() if (name, value) != ("split", "evaluation")}

    @property
    def _has_private_statistics(self) -> bool:
        return any(is_due("other_statistics", attack, self.threat_model) for attack in self.attacks)

    @model_validator(mode="after")
    def _private(self) -> Self:
        if self.split == "tuning" and needs_public_images(self.threat_model.bn_statistics):
            level = self.threat_model.bn_statistics
            raise ValueError(f"bn_statistics {level} are those of tuning images; attack the evaluation images")
        mixing = [key for key in self.defenses if self.dataset in create_defense(key).public_datasets]
        if self.split == "tuning" and mixing:
            raise ValueError(f"{mixing[0]} mixes tuning images in; attack the evaluation images")
        return self

    @field_validator("image_size", mode="before")
    @classmethod
    def _image_size(cls, value: Any) -> ImageSize | None:
        """One number, a pair (height, width), or `64x80`."""
        try:
            return None if value is None else checked_image_size(value, least=8)
        except DataError as error:
            raise ValueError(str(error).removeprefix("image_size ")) from error  # pydantic adds the place

    @field_validator("controls", mode="before")
    @classmethod
    def _controls(cls, value: Any) -> Any:
        """`all`, `none`, or a list of names."""
        # Anything but these two words goes on to pydantic, which says what a list of names is.
        chosen = {"all": CONTROLS, "none": ()}.get(value, value) if isinstance(value, str) else value
        for name in chosen if isinstance(chosen, list | tuple) else ():
            if name not in CONTROLS:
                raise ValueError(unknown("control", str(name), list(CONTROLS)))
        return chosen

    @field_validator("attacks")
    @classmethod
    def _attacks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Canonical, so that two spellings of one key are one trial with one id.
        return tuple(str(canonical_attack(text)) for text in value)

    @field_validator("defenses")
    @classmethod
    def _defenses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(canonical_defense(text) for text in value)
        except (UnknownNameError, InvalidEntryError) as error:
            raise ValueError(str(error)) from error  # the one type of error to which pydantic adds the place

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in METRICS.names():
                raise ValueError(unknown("metric", name, METRICS.names()))
        return value

    @field_validator("threat_model")
    @classmethod
    def _threat_model(cls, value: ThreatModel) -> ThreatModel:
        if reason := create_update(value.update).reason_no_client:
            raise ValueError(reason)
        return value

    @field_validator("batch_sizes")
    @classmethod
    def _batch_sizes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= size <= LARGEST_BATCH for size in value):
            raise ValueError(f"batch sizes lie in 1..{LARGEST_BATCH}")
        return value

    def batches_of(self, batch_size: int) -> int:
        """How many private batches of that size."""
        if isinstance(self.batches, int):
            return self.batches
        if batch_size not in self.batches:
            raise SuiteError(f"batches says nothing of batch size {batch_size}; add `{batch_size}: N`")
        return self.batches[batch_size]


class SuiteContrast(Strict):
    """Two keys whose paired difference is of interest, in every setting that has both."""

    name: str
    attack: str
    against: str

    @field_validator("attack", "against")
    @classmethod
    def _keys(cls, value: str) -> str:
        return str(canonical_attack(value))


def canonical_attack(text: str) -> Key:
    """The key with its parameters validated; ValueError in one line where attack, preset or parameter is wrong."""
    try:
        key = parse_key(text)
        create_attack(text)  # for what only the constructor checks
        # Only what was given: a default that changes must not change the key, though it changes the trial's id.
        given = {name: value for name, value in hyperparameters(key).items() if name in key.parameters}
    except (UnknownNameError, InvalidEntryError) as error:
        raise ValueError(str(error)) from error
    return Key(key.name, key.preset, given)
