"""A suite: a YAML file, validated into blocks, each block a grid of cells."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from gradinv.attacks.grants import needs_public_images
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack, hyperparameters
from gradinv.attacks.update import create_update
from gradinv.benchmark.datasets import LARGEST_IMAGE_SIZE
from gradinv.benchmark.defenses import canonical_defense
from gradinv.benchmark.experiment import CONTROLS
from gradinv.benchmark.runs.strict_yaml import read_yaml
from gradinv.benchmark.victims import VictimSpec
from gradinv.metrics.images import METRICS, default_metrics
from gradinv.metrics.keys import Key, parse_key
from gradinv.metrics.plain_text import cut
from gradinv.metrics.registry import InvalidEntryError, RequestError, UnknownNameError, unknown

SHIPPED = Path(__file__).parent.parent / "suites"
LARGEST_BATCH = 512
MOST_BATCHES = 10_000
"""Of one cell; each is drawn before anything runs."""
LARGEST_BUDGET = 10**8
"""Evaluations of one trial; at a millisecond each they take a day."""

_HEAD = ("name", "description", "contrasts")  # what holds for a suite as a whole

_NOTHING: Mapping[str, Any] = {}

# Strict, because `true` and 1.0 are the number one to pydantic.
BatchSize = Annotated[int, Field(strict=True)]
Batches = Annotated[int, Field(gt=0, le=MOST_BATCHES, strict=True)]
Budget = Annotated[int, Field(gt=0, le=LARGEST_BUDGET, strict=True)]


class SuiteError(RequestError):
    """A suite that cannot be run; its text is one line that says where it is wrong and how to mend it."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Strict):
    """One grid: every attack against every victim, threat model, defense and batch size."""

    dataset: str = "photos"
    image_size: int | None = Field(default=None, ge=8, le=LARGEST_IMAGE_SIZE, strict=True)
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
        return {name: value for name, value in fields.items() if (name, value) != ("split", "evaluation")}

    @model_validator(mode="after")
    def _private(self) -> Self:
        if self.split == "tuning" and needs_public_images(self.threat_model.bn_statistics):
            level = self.threat_model.bn_statistics
            raise ValueError(f"bn_statistics {level} are those of tuning images; attack the evaluation images")
        return self

    @field_validator("image_size", mode="before")
    @classmethod
    def _image_size(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            raise ValueError(  # noqa: TRY004 - pydantic adds the place to this one type
                "images are squares of so many pixels; give one number: short sides are scaled to it, and the centre "
                "is cut out and counted by `gradinv check`"
            )
        return value

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


class SuiteContrast(_Strict):
    """Two keys whose paired difference is of interest, in every setting that has both."""

    name: str
    attack: str
    against: str

    @field_validator("attack", "against")
    @classmethod
    def _keys(cls, value: str) -> str:
        return str(canonical_attack(value))


class Suite(_Strict):
    """A named list of blocks, and the contrasts that its figure shows."""

    name: str
    description: str = ""
    contrasts: tuple[SuiteContrast, ...] = ()
    blocks: tuple[Block, ...]

    @field_validator("name")
    @classmethod
    def _folder(cls, value: str) -> str:
        """A name for a folder: whoever wrote the suite must not choose where somebody else's run is written."""
        if not value.isprintable() or value != value.strip() or value.startswith(".") or not value:
            raise ValueError(f"{cut(value)!r} names no folder; begin with a letter or digit, and use no line ends")
        if any(mark in value for mark in "/\\:"):
            raise ValueError(f"{cut(value)!r} is a path; give a name without / \\ and :, and the place with --out")
        return value

    @model_validator(mode="after")
    def _contrasted(self) -> Self:
        attacks = list(dict.fromkeys(attack for block in self.blocks for attack in block.attacks))
        for contrast in self.contrasts:
            for key in (contrast.attack, contrast.against):
                if key not in attacks:
                    raise ValueError(f"contrast {contrast.name!r}: {unknown('attack of this suite', key, attacks)}")
        return self


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


def suite_names() -> list[str]:
    """The suites that ship with gradinv."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def suite_path(name: str) -> Path:
    """The file of a shipped suite, or `name` itself where it is a file; SuiteError where it is neither."""
    # Shipped names first: a folder or file called `quick` in the working directory must not change what that means.
    shipped = SHIPPED / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    if Path(name).is_file():
        return Path(name)
    raise SuiteError(unknown("suite", name, suite_names()) + "; or give the path of a YAML file")


def load_suite(path: Path, overrides: Mapping[str, Any] | None = None) -> Suite:
    """Read and validate a suite; `overrides` (dotted names) go over every block. SuiteError in one line."""
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise SuiteError(f"{path} must hold a mapping such as `name: my-suite`")
    return suite_of(raw, str(path), path.stem, overrides or {})


def suite_of(content: Mapping[str, Any], where: str, name: str, overrides: Mapping[str, Any] = _NOTHING) -> Suite:
    """The suite that a mapping describes, as a file would; `name` is its own where the content has none.

    `where` says in errors where the content comes from. SuiteError in one line.
    """
    raw = dict(content)
    # What stands outside of `grids` holds for all of them, and one grid is enough for most suites.
    head = {field: raw.pop(field) for field in _HEAD if field in raw}
    grids = raw.pop("grids", None) or [{}]
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise SuiteError(f"{where}: grids must be a list of mappings")
    merged = [_override({**raw, **grid}, overrides) for grid in grids]
    try:
        return Suite.model_validate({"name": name, **head, "blocks": merged})
    except ValidationError as error:
        raise SuiteError(_one_line(error, where, overrides)) from error


def _override(block: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `block` with each dotted name set."""
    result = dict(block)
    for name, value in overrides.items():
        *parents, last = name.split(".")
        if name in (*_HEAD, "grids"):
            raise SuiteError(f"--set {name}: is set in the suite's file alone")
        target = result
        for parent in parents:
            inner = target.get(parent) or {}
            if not isinstance(inner, dict):
                raise SuiteError(f"--set {name}: {parent} has no parts that can be set one by one; set {parent} whole")
            target[parent] = dict(inner)  # a copy, since grids share what stands outside of them
            target = target[parent]
        target[last] = value
    return result


def _one_line(error: ValidationError, path: str, overrides: Mapping[str, Any]) -> str:
    """All that is wrong, each with its place; an unknown name comes with the nearest valid one."""
    # A list whose elements are all wrong is too short as well; the elements' own sentences say enough.
    faults = [fault for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]]
    sentences: dict[str, list[str]] = {}
    for fault in faults:
        # Faults of the request and not of the file, which may be a shipped one.
        option = _overriding(fault, overrides)
        of_place = sentences.setdefault(path if option is None else f"--set {option}", [])
        of_place += [sentence for sentence in [_sentence(fault)] if sentence not in of_place]
    return "; ".join(f"{place}: {'; '.join(texts)}" for place, texts in sentences.items())


def _settings(fault: Any) -> list[str]:
    """The names of the settings that lead to a fault, without numbers of lists."""
    return [str(part) for part in fault["loc"] if str(part).isidentifier() and part != "blocks"]


def _overriding(fault: Any, overrides: Mapping[str, Any]) -> str | None:
    """The name that was set on the command line and is at fault; None where the file is."""
    place = f"{'.'.join(_settings(fault))}."
    return next((name for name in overrides if place.startswith(f"{name}.") or f"{name}.".startswith(place)), None)


def _sentence(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        valid = [
            *Suite.model_fields,
            *SuiteContrast.model_fields,
            *Block.model_fields,
            *VictimSpec.model_fields,
            *ThreatModel.model_fields,
            "grids",
        ]
        name = cut(str(fault["loc"][-1]))
        near = difflib.get_close_matches(name, valid, n=1)
        return f"{name!r} is no known setting" + (f"; did you mean {near[0]}?" if near else "")
    settings = _settings(fault)
    reason = fault["msg"].removeprefix("Value error, ").replace("tuple", "list")
    return ": ".join([".".join(settings), reason] if settings else [reason])
