"""Preset files: the hyperparameters that a tuning found, as YAML, with all that says where they come from."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradinv.attacks.registry import create_attack, register_tuned
from gradinv.benchmark.strict_yaml import read_yaml
from gradinv.metrics.records import write_text
from gradinv.metrics.registry import InvalidEntryError

Plain = bool | int | float | str | None
Whole = Annotated[int, Field(ge=0, strict=True)]


class Provenance(BaseModel):
    """Where tuned hyperparameters come from: on what, by what means, how good the best and the others were.

    `budget` is in evaluations a batch (None: the attack's own), `evaluations` all that were spent; scores are means of
    the `objective` over the `batches` of tuning images, `median` that of the settings measured on all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    dataset: str
    image_size: Whole | str
    split: str
    data_hash: str
    victim: dict[str, Plain]
    victim_state: str
    weights_hash: str
    defense: str
    threat_model: dict[str, Plain]
    batch_size: Whole
    batches: Whole
    budget: Whole | None
    objective: str
    trials: Whole
    pruned: Whole
    evaluations: Whole
    seed: Whole
    best: float
    median: float
    published: float
    space: dict[str, tuple[float, float]]
    versions: dict[str, str]


class PresetFile(BaseModel):
    """A preset with its provenance; `hash` is that of all the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    preset: Annotated[str, Field(pattern=r"^\w+$")]
    hyperparameters: dict[str, Plain]
    tuning: Provenance
    hash: str = ""

    @property
    def key(self) -> str:
        """What suites and `--attack` call it."""
        return f"{self.attack}.{self.preset}"

    @property
    def content_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of everything but `hash`."""
        # Sorted, so that the hash is that of the values, in whatever order they stand.
        text = json.dumps(self.model_dump(mode="json", exclude={"hash"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_preset(preset: PresetFile, path: Path) -> None:
    """Write the file with its hash."""
    content = preset.model_copy(update={"hash": preset.content_hash}).model_dump(mode="json")
    head = f"# Written by gradinv tune. Use it: gradinv run SUITE --plugin THIS_FILE --attack {preset.key}\n"
    write_text(path, head + yaml.safe_dump(content, sort_keys=False, width=100))


def read_preset(path: Path) -> PresetFile:
    """Read what `write_preset` wrote; InvalidEntryError in one line where it is none, or was changed since."""
    try:
        content: Any = read_yaml(path.read_text(encoding="utf-8"))
        preset = PresetFile.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise InvalidEntryError(f"preset file {path}: {where}: {fault['msg']}") from error
    except (OSError, ValueError) as error:
        raise InvalidEntryError(f"preset file {path} cannot be read: {' '.join(str(error).split())}") from error
    if preset.hash != preset.content_hash:
        raise InvalidEntryError(
            f"preset file {path} was changed after gradinv tune wrote it (its hash is {preset.content_hash}); tune "
            "again, or register the values in a Python file with register_preset"
        )
    return preset


def load_preset(path: Path) -> None:
    """Register the preset of a file; InvalidEntryError where it is none, or where its attack does not take it."""
    preset = read_preset(path)
    register_tuned(preset.key, preset.hash, preset.hyperparameters)
    create_attack(preset.key)  # for its error alone, which is to come before a trial
