"""Which victim is meant: a specification, as suites and records hold it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from gradinv.benchmark.victims.recipe import Recipe, recipe_fields
from gradinv.metrics.keys import bracketed
from gradinv.metrics.registry import RequestError

Stem = Literal["default", "cifar"]
State = Literal["untrained", "early", "trained", "pretrained"]

Channel = Annotated[float, Field(allow_inf_nan=False)]
Channels = tuple[Channel, Channel, Channel]
MOST_EPOCHS = 10_000
_LATER = ("mean", "std", "round", "recipe")
"""Fields that came later: at their default they are left out, so that ids of earlier trials stay what they were."""


class VictimSpec(BaseModel):
    """Which victim: a timm model, its state, and what shapes it.

    `early` is trained for one epoch. `epochs` overrides the default number of a trained victim; with `round` it is the
    network of that training after so many epochs, before the learning rate has run its course. `recipe` says how it is
    trained: fields of a Recipe, the name of a shipped one, or a YAML file of them. `weights` is a local
    file (safetensors, or a checkpoint of tensors only) that a trained or pretrained victim takes instead; `mean` and
    `std`, one number a channel, say how images in [0, 1] were normalised when it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    state: State
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    stem: Stem = "default"
    epochs: int | None = Field(default=None, ge=1, le=MOST_EPOCHS, strict=True)
    round: int | None = Field(default=None, ge=0, le=MOST_EPOCHS, strict=True)
    recipe: Recipe | None = None
    weights: str | None = None
    mean: Channels | None = None
    std: Channels | None = None

    @field_validator("recipe", mode="before")
    @classmethod
    def _read(cls, recipe: Any) -> Any:
        """The fields of a recipe that is given by its name: what shapes a victim is what they say, not where."""
        return recipe_fields(recipe) if isinstance(recipe, str) else recipe

    @field_validator("recipe")
    @classmethod
    def _unless_default(cls, recipe: Recipe | None) -> Recipe | None:
        """Nothing for the default recipe, so that the same victim has one specification."""
        return recipe if recipe is not None and recipe.changes else None

    @model_validator(mode="after")
    def _possible(self) -> "VictimSpec":
        if self.epochs is not None and (self.state != "trained" or self.weights is not None):
            raise ValueError("epochs is for state trained without weights only")
        if self.round is not None and (self.epochs is None or self.round > self.epochs):
            raise ValueError("round counts epochs of a training; give epochs too, as many or more")
        if self.recipe is not None and (self.state not in ("early", "trained") or self.weights is not None):
            raise ValueError("recipe is for victims that are trained; take state trained, or early, without weights")
        if self.weights is not None and self.state not in ("trained", "pretrained"):
            raise ValueError(f"weights contradict state {self.state}; take trained or pretrained")
        if self.state == "pretrained" and self.stem != "default" and self.weights is None:
            raise ValueError("timm's pretrained weights do not fit another stem; take stem=default or give weights")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together; give both or neither")
        if self.mean is not None and self.weights is None:
            raise ValueError("mean and std are for weights of one's own; give weights, or leave them out")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0 in every channel")
        return self

    @model_serializer(mode="wrap")
    def _dumped(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if name not in _LATER or value is not None}

    @property
    def key(self) -> str:
        """The model and, in brackets, what shapes it beyond the default (a weight file by its name).

        >>> VictimSpec(model="resnet18", state="trained", epochs=5, stem="cifar").key
        'resnet18[epochs=5,stem=cifar]'
        """
        shaping: dict[str, Any] = {}
        if self.epochs is not None:
            shaping["epochs"] = self.epochs
        if self.round is not None:
            shaping["round"] = self.round
        if self.stem != "default":
            shaping["stem"] = self.stem
        if self.recipe is not None:
            shaping |= self.recipe.changes
        if self.weights is not None:
            shaping["weights"] = Path(self.weights).name
        if self.mean is not None and self.std is not None:
            # Without commas, which separate what stands in brackets.
            shaping |= {"mean": "/".join(map(str, self.mean)), "std": "/".join(map(str, self.std))}
        return self.model + bracketed(shaping)


def checked_spec(model: str, state: str, **shaping: Any) -> VictimSpec:
    """The victim of these fields; RequestError in one line where they contradict each other."""
    try:
        return VictimSpec.model_validate({"model": model, "state": state, **shaping})
    except ValidationError as error:
        problem = error.errors()[0]
        place = "".join(f"{part}: " for part in problem["loc"] if part != "state")  # which stands before it
        raise RequestError(f"--state {state}: {place}{problem['msg'].removeprefix('Value error, ')}") from error
