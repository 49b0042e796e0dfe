"""What a trial is before it is run: everything that changes its result, the id that is its hash, and its row."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from gradinv.attacks.gradient_matching import Kind, Precision
from gradinv.attacks.grants import granted_numbers_per_pixel
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import tuned_hash
from gradinv.benchmark.datasets import seed_of
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.controls import BLIND
from gradinv.benchmark.victims import VictimSpec
from gradinv.metrics.image_size import ImageSize, sides
from gradinv.metrics.keys import Key, bracketed, parse_key
from gradinv.metrics.records import Cell, trial_id


class TrialSpec(BaseModel):
    """One trial. Seeds follow from it by hashing what each draw may depend on.

    `weights_hash` is None as long as the victim is not loaded or trained: such a specification has no id yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    image_size: ImageSize
    data_hash: str
    victim: VictimSpec
    weights_hash: str | None
    attack: str
    hyperparameters: dict[str, Any] = {}
    control: str = ""
    defense: str
    threat_model: ThreatModel
    batch_size: int
    repetition: int
    split: Literal["evaluation", "tuning"] = "evaluation"
    budget: int | None
    metrics: tuple[str, ...]
    device: str = "cpu"
    threads: int = 1
    engine: Kind = "eager"
    together: int = 1
    precision: Precision = "float32"
    sources: dict[str, str]
    versions: dict[str, str]

    # At its default a later field is left out, so that ids of earlier trials stay what they were.
    @model_serializer(mode="wrap")
    def _dumped(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if (name, value) != ("split", "evaluation")}

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the specification; ValueError while the weights are not known."""
        if self.weights_hash is None:
            raise ValueError(f"the weights of {self.victim.key} are not known yet, so the trial has no id")
        return trial_id(self.model_dump(mode="json"))

    @property
    def pack(self) -> str:
        """What trials share that may run side by side: all but the private batch and what the client sends of it."""
        # The sources as well: the defense's differ with it, all others follow from fields that stay.
        differing = {"repetition", "defense", "control", "sources"}
        # Trials side by side attack one network; where a defense changes it, they must have the same defense.
        if create_defense(self.defense).changes_model:
            differing.remove("defense")
        # A blind attack has no distance, so that it cannot share a descent with those that see a gradient.
        blind = self.control if self.control in BLIND else ""
        return self.model_dump_json(exclude=differing) + blind

    def seed(self, purpose: str) -> int:
        """The seed of `attack`, `defense`, ...: it depends on data set and repetition, so that trials are paired."""
        return seed_of(purpose, self.dataset, self.repetition)


@dataclass(frozen=True)
class PlannedTrial:
    """One trial to run, with the row it belongs to and the place that the row has in its suite.

    `evaluations` is the most that it may spend, `packed` how many trials of its pack may run side by side.
    """

    spec: TrialSpec
    cell: Cell
    suite: str
    suite_hash: str
    order: int
    skip_reason: str | None
    evaluations: int
    packed: int = 1

    # Cached, because a run asks for it again and again and every answer hashes the specification.
    @cached_property
    def id(self) -> str:
        """The specification's id; ValueError while the victim's weights are not known."""
        return self.spec.id

    def changed(self, **fields: Any) -> "PlannedTrial":
        """The same trial with other fields of its specification."""
        return replace(self, spec=self.spec.model_copy(update=fields))


def cell_of(spec: TrialSpec, *, victim_state: str, bn_channels: int, channels: int = 3) -> Cell:
    """The leaderboard row that the trial belongs to; `bn_channels` are those of all batch-norm layers together."""
    # A control's name stands where an attack's does, and the attack that it controls in the place of a preset.
    key = Key(spec.control, spec.attack) if spec.control else parse_key(spec.attack)
    granted = spec.threat_model
    image_shape = (channels, *sides(spec.image_size))
    return Cell(
        attack=key.name,
        preset=key.preset,
        parameters=bracketed(key.parameters),
        is_control=bool(spec.control),
        tuning=_tuning(spec),
        dataset=spec.dataset,
        image_size=spec.image_size,
        victim=spec.victim.key,
        victim_state=victim_state,
        victim_seed=spec.victim.seed,
        bn_mode=granted.bn_mode,
        bn_statistics=granted.bn_statistics,
        granted_numbers_per_pixel=granted_numbers_per_pixel(
            granted.bn_statistics, bn_channels, spec.batch_size, image_shape
        ),
        labels=granted.labels,
        update=granted.update,
        defense=spec.defense,
        adaptive=granted.adaptive,
        batch_size=spec.batch_size,
        max_equal_labels=granted.max_equal_labels,
        budget="paper" if spec.budget is None else str(spec.budget),
        precision=spec.precision,
        buffers=granted.buffers,
        client_precision=granted.client_precision,
        simulation=granted.simulation,
        equal_labels=granted.equal_labels,
        observations=granted.observations,
        server_lr=granted.server_lr,
        auxiliary_images=granted.auxiliary_images,
        split=spec.split,
    )


def _tuning(spec: TrialSpec) -> str:
    """Where the hyperparameters come from: `tuned:` and the hash of a preset file, else the paper or the suite."""
    tuned = tuned_hash(parse_key(spec.attack)) if spec.attack else ""
    if tuned:
        return f"tuned:{tuned}"
    return "paper" if spec.budget is None else "suite"


@cache
def result_versions() -> dict[str, str]:
    """Versions whose change may change a result: gradinv's minor, torch's and timm's major."""
    return {
        "gradinv": ".".join(version("gradinv").split(".")[:2]),
        "torch": version("torch").split(".")[0],
        "timm": version("timm").split(".")[0],
    }
