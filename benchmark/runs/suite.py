"""A suite: a YAML file, validated into blocks, each block a grid of cells."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import (
    ValidationError,
    field_validator,
    model_validator,
)

from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.runs.block import Block, Strict, SuiteContrast, SuiteError
from gradinv.benchmark.runs.shipped import SHIPPED, suite_names
from gradinv.benchmark.strict_yaml import read_yaml
from gradinv.benchmark.victims import VictimSpec
from gradinv.metrics.plain_text import cut
from gradinv.metrics.registry import unknown

_HEAD = ("name", "description", "contrasts")  # what holds for a suite as a whole


_NOTHING: Mapping[str, Any] = {}


class Suite(Strict):
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
