"""How a victim is trained: a recipe, as suites give it and as the repository ships it. Imports no torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from gradinv.benchmark.strict_yaml import read_yaml
from gradinv.metrics.records import read_file
from gradinv.metrics.registry import unknown

_SHIPPED = Path(__file__).parent / "recipes"
_FILES = (".yaml", ".yml")


class Recipe(BaseModel):
    """How a victim is trained: the optimizer, a one-cycle learning rate up to `lr`, mirrored and shifted images.

    `sgd` is with Nesterov's momentum; `momentum` is AdamW's first beta. `shift` is the largest shift as a share of the
    image's side; what is shifted in is black. `precision` is that of convolutions and matrix products in training, by
    `torch.autocast`: weights, sums and what is kept and judged are float32.

    >>> Recipe(lr=0.05).changes
    {'lr': 0.05}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adamw"] = "sgd"
    batch_size: int = Field(default=128, ge=1, strict=True)
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    flip: bool = True
    shift: float = Field(default=0.125, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_serializer(mode="wrap")
    def _dumped(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # These fields came later: left out at their defaults, victims trained before keep their place in the cache.
        later = {"optimizer": "sgd", "precision": "float32"}
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if later.get(name) != value}

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the default recipe."""
        return {name: value for name, value in self if value != type(self).model_fields[name].default}


def recipe_names() -> list[str]:
    """The recipes that ship with gradinv.

    >>> recipe_names()
    ['adamw', 'sgd', 'sgd-bfloat16']
    """
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def recipe_fields(name: str) -> dict[Any, Any]:
    """The fields of a shipped recipe, or of a file (`.yaml`), unchecked; ValueError in one line where there are none.

    >>> recipe_fields("adamw")["optimizer"]
    'adamw'
    """
    is_file = name.endswith(_FILES)
    if not is_file and name not in recipe_names():
        raise ValueError(f"{unknown('recipe', name, recipe_names())}; a file ends in .yaml")
    path = Path(name) if is_file else _SHIPPED / f"{name}.yaml"
    try:
        fields = read_yaml(read_file(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:  # also text that is no UTF-8
        raise ValueError(f"recipe {name}: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"recipe {name}: no fields such as `lr: 0.05` stand in it")  # noqa: TRY004 - what pydantic expects
    return fields
