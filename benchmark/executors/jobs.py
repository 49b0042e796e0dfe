"""Running trials in this process: what they raise becomes their record, which is written where they ran."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from traceback import format_exception

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gradinv.benchmark.datasets import DataError, Dataset, create_dataset
from gradinv.benchmark.executors.store import Store
from gradinv.benchmark.executors.trial_log import TrialLog
from gradinv.benchmark.experiment import (
    ImpossibleCellError,
    Outcome,
    PlannedTrial,
    TrialSpec,
    controls,
    data_hash,
    make_record,
    run_together,
)
from gradinv.benchmark.stopping import TrialTimeout, is_from_outside, time_limit
from gradinv.benchmark.victims import LoadedVictim, Stem, VictimError, build_network, normalisation_for, weights_hash
from gradinv.metrics.image_size import ImageSize, as_image_size
from gradinv.metrics.plain_text import plain
from gradinv.metrics.records import Record, RunDirectory


@dataclass(frozen=True)
class Job:
    """Trials that run side by side, mostly one, and the run directory with their victim's weights.

    `timeout` is the most seconds that one of them may take; None: as long as it likes. With `keep_floats` images are
    kept as they were scored, too.
    """

    trials: tuple[PlannedTrial, ...]
    run: RunDirectory
    timeout: float | None = None
    keep_floats: bool = False

    @property
    def limit(self) -> float | None:
        """Seconds that all of them may take together."""
        return None if self.timeout is None else self.timeout * len(self.trials)

    @property
    def lateness(self) -> str:
        """The reason of a trial that took longer."""
        return f"timeout: not ended after {self.limit or 0:g} s"

    def singly(self) -> "list[Job]":
        """The same trials as jobs of one each."""
        return [replace(self, trials=(trial,)) for trial in self.trials]


def jobs_of(
    trials: Sequence[PlannedTrial], run: RunDirectory, timeout: float | None = None, *, keep_floats: bool = False
) -> list[Job]:
    """The jobs of some of a plan's trials: those of one pack come together, as many as the engine takes."""
    packs: dict[str, list[PlannedTrial]] = {}
    # In the plan's order, which is victim by victim: `_module` keeps one network, the last.
    for trial in trials:
        packs.setdefault(trial.spec.pack if trial.packed > 1 else trial.id, []).append(trial)
    chunks = [
        tuple(pack[i : i + pack[0].packed]) for pack in packs.values() for i in range(0, len(pack), pack[0].packed)
    ]
    return [Job(chunk, run, timeout, keep_floats) for chunk in chunks]


def in_order(jobs: Sequence[Job], seconds: Mapping[str, float], workers: int, *, breadth_first: bool) -> list[Job]:
    """The jobs in the order in which they are to be run; `seconds` are the estimates of their trials, by id.

    With `breadth_first` every cell has its first batch before any has its second, so that what a stopped run leaves is
    a board. Else several workers begin with what takes longest, so that none works alone at the end; victim by victim,
    because a worker keeps one.
    """
    if breadth_first:
        return sorted(jobs, key=lambda job: job.trials[0].spec.repetition)
    if workers == 1:
        return list(jobs)
    # What nobody could measure comes first: it may be the longest.
    expected = [
        sum(math.inf if math.isnan(seconds[trial.id]) else seconds[trial.id] for trial in job.trials) for job in jobs
    ]
    longest: dict[str, float] = {}
    for job, duration in zip(jobs, expected, strict=True):
        longest[_weights(job)] = max(duration, longest.get(_weights(job), 0.0))
    ranked = sorted(
        zip(jobs, expected, strict=True), key=lambda pair: (-longest[_weights(pair[0])], _weights(pair[0]), -pair[1])
    )
    return [job for job, _ in ranked]


def _weights(job: Job) -> str:
    return job.trials[0].spec.weights_hash or ""


def execute(job: Job) -> list[Record]:
    """Run a job and hand its records to the store; whatever a trial raises becomes its record's state and reason.

    Where one of several raises, each is run again by itself, so that it fails alone.
    """
    log = TrialLog()
    try:
        with log.listening(), time_limit(job.limit, job.lateness):
            outcomes = _outcomes(job)
            records = [make_record(trial, outcome) for trial, outcome in zip(job.trials, outcomes, strict=True)]
    except BaseException as error:  # contract 5: no failure of one trial stops the suite, whatever it raises
        if is_from_outside(error):
            raise
        failure = _failure(error)
    else:
        # Outside of `try`: a disk that is full or gone is no failure of a trial, and must stop the run.
        return _stored(job, records, outcomes, log.text)
    # Outside of `except`: the error's traceback holds on to all tensors of the pack.
    if len(job.trials) > 1:
        return [record for single in job.singly() for record in execute(single)]
    return recorded(job, failure, log.text)


def recorded(job: Job, failure: Outcome, log: str = "") -> list[Record]:
    """The records of a job of which every trial ended in this way, now on disk."""
    outcomes = [failure] * len(job.trials)
    return _stored(job, [make_record(trial, failure) for trial in job.trials], outcomes, log)


def _stored(job: Job, records: list[Record], outcomes: Sequence[Outcome], log: str) -> list[Record]:
    """The records, now on disk with their pictures and with what was said while they ran side by side."""
    store = Store(job.run)
    for record, outcome in zip(records, outcomes, strict=True):
        store.write(record, outcome.tensors, outcome.floats if job.keep_floats else {}, log)
    return records


def _outcomes(job: Job) -> list[Outcome]:
    spec = job.trials[0].spec
    dataset = _dataset(spec.dataset, spec.image_size)
    _require_same_data(spec, dataset)
    return run_together([trial.spec for trial in job.trials], dataset, _victim(job, dataset))


def _require_same_data(spec: TrialSpec, dataset: Dataset) -> None:
    """DataError where the images here are not those that the run was planned with."""
    # The mean image is not made again to ask; its originals have their own hashes in the record.
    sees_mean = controls.sees_mean_image(spec.attack, spec.control)
    seen = (spec.attack, spec.control, spec.threat_model, spec.split, spec.defense)
    if not sees_mean and data_hash(dataset, *seen) != spec.data_hash:
        raise DataError(f"data set {spec.dataset} has changed since the run was planned; run it again")


def _failure(error: BaseException) -> Outcome:
    """What is recorded of a trial that raised."""
    if isinstance(error, ImpossibleCellError):
        return Outcome(state="skipped", reason=str(error))
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()  # else the blocks that the failed trial cached are missing for the next one
        return Outcome(state="oom", reason=_first_line(error))
    # On the CPU torch has no exception of its own for it.
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return Outcome(state="oom", reason=_first_line(error))
    if isinstance(error, TrialTimeout):
        return Outcome(state="failed", reason=str(error))
    return Outcome(state="failed", reason=_first_line(error), notes=["".join(format_exception(error))])


# Cached in the process that runs trials: a data set is opened and decoded once, whatever number of trials it gives.
@lru_cache(maxsize=4)
def _dataset(name: str, image_size: ImageSize) -> Dataset:
    return create_dataset(name, image_size)


def _victim(job: Job, dataset: Dataset) -> LoadedVictim:
    """The victim, with the weights in the run directory."""
    planned = job.trials[0]
    spec = planned.spec
    if spec.weights_hash is None:
        raise ValueError(f"the weights of {spec.victim.key} are not known; prepare the plan before it is run")
    path = job.run.weights(spec.weights_hash)
    module, facts = _module(path, spec.victim.model, len(dataset.classes), dataset.image_shape, spec.victim.stem)
    mean, std = normalisation_for(spec.victim, dataset)
    accuracy, source = float(facts["accuracy"]) if "accuracy" in facts else None, facts.get("source", "")
    return LoadedVictim(module, mean, std, spec.weights_hash, planned.cell.victim_state, accuracy, source=source)


@lru_cache(maxsize=1)
def _module(
    path: Path, model: str, num_classes: int, image_shape: tuple[int, int, int], stem: Stem
) -> tuple[torch.nn.Module, dict[str, str]]:
    """The network of a weight file and what stands beside it there; the last is kept: trials come victim by victim."""
    # Safetensors only: a run directory may come from someone else, and no pickle is ever loaded.
    channels, *size = image_shape
    module = build_network(model, num_classes=num_classes, image_size=as_image_size(size), channels=channels, stem=stem)
    module.load_state_dict(load_file(path))
    if weights_hash(module) != path.stem:
        raise VictimError(f"{path} does not hold the weights that its name says; delete it and run the suite again")
    with safe_open(path, framework="pt") as file:
        return module, file.metadata() or {}


def run_here(jobs: Sequence[Job]) -> Generator[Record]:
    """One after another in this process."""
    return (record for job in jobs for record in execute(job))


def _first_line(error: BaseException) -> str:
    # One line of bounded length: it stands in a board's notes, while the traceback stays in the record.
    text = plain(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:500]}".removesuffix(": ")
