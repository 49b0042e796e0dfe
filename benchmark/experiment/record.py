"""The record of a trial: what was planned, what was measured, and where."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version

import torch

from gradinv.benchmark.experiment.outcome import Outcome
from gradinv.benchmark.experiment.spec import PlannedTrial
from gradinv.metrics.records import Measured, Record, row_identity

PACKAGES = ("gradinv", "torch", "torchvision", "timm", "lpips", "torchmetrics", "numpy")
"""Packages whose versions stand in every record; only some are part of a trial's id (`spec.result_versions`)."""


def make_record(planned: PlannedTrial, outcome: Outcome) -> Record:
    """The record of a trial: what it is, from the plan; what was measured, from its outcome; where and when it ran."""
    spec = planned.spec
    specification = spec.model_dump(mode="json")
    measured = {name: getattr(outcome, name) for name in Measured.model_fields}
    return Record(
        id=planned.id,
        suite=planned.suite,
        order=planned.order,
        repetition=spec.repetition,
        cell=planned.cell.model_copy(update=asdict(row_identity(specification))),
        # Beside the specification and no part of it: the same trial may stand in several suites.
        spec={**specification, "suite_hash": planned.suite_hash},
        threads=spec.threads,
        device=_device_name(spec.device),
        versions=_versions(),
        date=datetime.now(UTC).isoformat(timespec="milliseconds"),
        **measured,
    )


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu ({platform.machine()})"


@lru_cache(maxsize=1)  # read from files, and the same for every trial of a process
def _versions() -> dict[str, str]:
    versions = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **versions}
