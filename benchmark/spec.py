"""The specification of a trial: everything that changes its result, and the id that is its hash."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from attacks.leak import ThreatModel
from attacks.registry import ATTACKS
from benchmark.defenses import DEFENSES
from benchmark.seeds import seed_of
from benchmark.victims import VictimSpec
from metrics.keys import parse_key
from metrics.registry import Registry
from metrics.scoring import METRICS


class TrialSpec(BaseModel):
    """One trial. Seeds follow from it by hashing what each draw may depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    image_size: int
    data_hash: str
    victim: VictimSpec
    weights_hash: str
    attack: str
    control: str = ""
    defense: str
    threat_model: ThreatModel
    batch_size: int
    repetition: int
    budget: int | None
    metrics: tuple[str, ...]
    device: str = "cpu"
    threads: int = 1
    engine: str = "eager"
    sources: dict[str, str]
    versions: dict[str, str]

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the specification."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def seed(self, purpose: str) -> int:
        """The seed of `attack`, `defense`, ...: it depends on data set and repetition, so that trials are paired."""
        return seed_of(purpose, self.dataset, self.repetition)


def sources_of(attack: str, defense: str, metrics: tuple[str, ...]) -> dict[str, str]:
    """Hashes of the files of other packages and plug-ins that the trial runs; gradinv's own go by its version."""
    used: list[tuple[Registry[Any], str]] = [(DEFENSES, parse_key(defense).name)]
    used += [(ATTACKS, parse_key(attack).name)] if attack else []
    used += [(METRICS, name) for name in metrics]
    foreign = {f"{registry.kind} {name}": _foreign_source(registry, name) for registry, name in used}
    return {name: digest for name, digest in sorted(foreign.items()) if digest}


def _foreign_source(registry: Registry[Any], name: str) -> str:
    path = Path(registry.origin(name).rsplit(":", 1)[0]).resolve()
    home = Path(__file__).resolve().parent.parent
    if any(path.is_relative_to(home / package) for package in ("attacks", "benchmark", "metrics")):
        return ""
    return _file_hash(path)


@cache
def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@cache
def result_versions() -> dict[str, str]:
    """Versions whose change may change a result: gradinv's minor, torch's and timm's major."""
    return {
        "gradinv": ".".join(version("gradinv").split(".")[:2]),
        "torch": version("torch").split(".")[0],
        "timm": version("timm").split(".")[0],
    }
