"""The specification of a trial: everything that changes its result, and the id that is its hash."""

import hashlib
import json
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
from gradinv import attacks, benchmark, metrics
from gradinv.attacks.gradient_matching.evaluation import Kind, Precision
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import ATTACKS
from gradinv.benchmark.datasets import DATASETS
from gradinv.benchmark.datasets.seeds import seed_of
from gradinv.benchmark.defenses import DEFENSES
from gradinv.benchmark.victims.loading import VictimSpec
from gradinv.metrics.images.scoring import METRICS
from gradinv.metrics.keys import parse_key
from pydantic import BaseModel, ConfigDict


class TrialSpec(BaseModel):
    """One trial. Seeds follow from it by hashing what each draw may depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    image_size: int
    data_hash: str
    victim: VictimSpec
    weights_hash: str
    attack: str
    hyperparameters: dict[str, Any] = {}
    control: str = ""
    defense: str
    threat_model: ThreatModel
    batch_size: int
    repetition: int
    budget: int | None
    metrics: tuple[str, ...]
    device: str = "cpu"
    threads: int = 1
    engine: Kind = "eager"
    together: int = 1
    precision: Precision = "float32"
    sources: dict[str, str]
    versions: dict[str, str]

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the specification."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def pack(self) -> str:
        """What trials share that may run side by side: all but the private batch and what the client sends of it."""
        own = {"repetition", "defense", "control", "sources"}
        blind = self.control if self.control == "prior_only" else ""
        return self.model_dump_json(exclude=own) + blind

    def seed(self, purpose: str) -> int:
        """The seed of `attack`, `defense`, ...: it depends on data set and repetition, so that trials are paired."""
        return seed_of(purpose, self.dataset, self.repetition)


def sources_of(attack: str, defense: str, metrics: tuple[str, ...], dataset: str, model: str) -> dict[str, str]:
    """Hashes of the files of other packages and plug-ins that the trial runs; gradinv's and timm's go by version."""
    used: dict[str, Any] = {f"metric {name}": METRICS.get(name).target for name in metrics}
    used[f"defense {defense}"] = DEFENSES.get(parse_key(defense).name).target
    used[f"model {model}"] = timm.models.model_entrypoint(model.split(".")[0])
    if attack:
        used[f"attack {attack}"] = ATTACKS.get(parse_key(attack).name).target
    if dataset in DATASETS.names():
        used[f"data set {dataset}"] = DATASETS.get(dataset).target
    hashes = {name: _foreign_source(target) for name, target in used.items()}
    return {name: digest for name, digest in hashes.items() if digest}


def _foreign_source(target: Any) -> str:
    """Hash of the file of a class, a function or an instance's class; empty where the file is ours or timm's."""
    path = Path(sys.modules[target.__module__].__file__ or "").resolve()
    known = [Path(package.__path__[0]).resolve() for package in (attacks, benchmark, metrics, timm)]
    return (
        ""
        if any(path.is_relative_to(folder) for folder in known)
        else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    )


@cache
def result_versions() -> dict[str, str]:
    """Versions whose change may change a result: gradinv's minor, torch's and timm's major."""
    return {
        "gradinv": ".".join(version("gradinv").split(".")[:2]),
        "torch": version("torch").split(".")[0],
        "timm": version("timm").split(".")[0],
    }
