"""Where trials run: in this process, or in local worker processes. A trial writes its own record."""

import importlib.metadata
import multiprocessing
import os
import platform
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from traceback import format_exception
from typing import Any

import torch
from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.experiment.client import ImpossibleCellError
from gradinv.benchmark.experiment.outcome import Outcome
from gradinv.benchmark.experiment.trial import run_together
from gradinv.benchmark.machine import prepare_process
from gradinv.benchmark.runs.plan import Plan, Trial
from gradinv.benchmark.runs.store import Store
from gradinv.benchmark.victims.loading import LoadedVictim
from gradinv.benchmark.victims.networks import Stem, build_network
from gradinv.metrics.records.record import Record
from gradinv.metrics.registry import load_plugin
from safetensors.torch import load_file


@dataclass(frozen=True)
class Job:
    """Trials that run side by side, mostly one, with what a process needs to run them and to write their records."""

    trials: tuple[Trial, ...]
    directory: Path
    suite: str
    suite_hash: str

    def singly(self) -> "list[Job]":
        """The same trials as jobs of one each."""
        return [replace(self, trials=(trial,)) for trial in self.trials]


def jobs_of(plan: Plan, trials: Sequence[Trial], directory: Path) -> list[Job]:
    """The jobs of some of a plan's trials: those of one pack come together, as many as the engine takes."""
    packs: dict[str, list[Trial]] = {}
    for trial in trials:
        packs.setdefault(trial.spec.pack if trial.packed > 1 else trial.id, []).append(trial)
    chunks = [
        tuple(pack[i : i + pack[0].packed]) for pack in packs.values() for i in range(0, len(pack), pack[0].packed)
    ]
    return [Job(chunk, directory, plan.suite.name, plan.suite_hash) for chunk in chunks]


def execute(job: Job) -> list[Record]:
    """Run a job and write its records; whatever a trial raises becomes its record's state and reason.

    Where one of several raises, each is run again by itself, so that it fails alone.
    """
    specs = [trial.spec for trial in job.trials]
    try:
        dataset = _dataset(specs[0].dataset, specs[0].image_size)
        outcomes = run_together(specs, dataset, _victim(job, dataset))
        return [write(job, trial, outcome) for trial, outcome in zip(job.trials, outcomes, strict=True)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - contract 5: no failure of one trial stops the suite
        failure = _failure(error)
    if len(job.trials) > 1:
        return [record for single in job.singly() for record in execute(single)]
    return [write(job, job.trials[0], failure)]


def _failure(error: BaseException) -> Outcome:
    """What is recorded of a trial that raised."""
    if isinstance(error, ImpossibleCellError):
        return Outcome({"state": "skipped", "reason": str(error)}, {})
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return Outcome({"state": "oom", "reason": _first_line(error)}, {})
    notes = ["".join(format_exception(error))]
    return Outcome({"state": "failed", "reason": _first_line(error), "notes": notes}, {})


def write(job: Job, trial: Trial, outcome: Outcome) -> Record:
    """Put the record of one of a job's trials on disk."""
    spec = trial.spec
    record = Record(
        id=trial.id,
        suite=job.suite,
        order=trial.order,
        repetition=spec.repetition,
        cell=trial.cell,
        spec={**spec.model_dump(mode="json"), "suite_hash": job.suite_hash},
        threads=spec.threads,
        device=_device_name(spec.device),
        versions=_versions(),
        date=datetime.now(UTC).isoformat(timespec="milliseconds"),
        **outcome.fields,
    )
    Store(job.directory).write(record, outcome.tensors)
    return record


@lru_cache(maxsize=4)
def _dataset(name: str, image_size: int) -> Dataset:
    return create_dataset(name, image_size)


def _victim(job: Job, dataset: Dataset) -> LoadedVictim:
    """The victim from the weight file in the run directory."""
    trial = job.trials[0]
    spec = trial.spec
    path = job.directory / "victims" / f"{spec.weights_hash}.safetensors"
    module = _module(path, spec.victim.model, len(dataset.classes), spec.image_size, spec.victim.stem)
    return LoadedVictim(module, trial.mean, trial.std, spec.weights_hash, trial.cell.victim_state, None)


@lru_cache(maxsize=1)
def _module(path: Path, model: str, num_classes: int, image_size: int, stem: Stem) -> torch.nn.Module:
    """The network of a weight file; the last one is kept, since trials come victim by victim."""
    module = build_network(model, num_classes=num_classes, image_size=image_size, stem=stem)
    module.load_state_dict(load_file(path))
    return module


def run_here(jobs: Sequence[Job]) -> Generator[Record]:
    """One after another in this process."""
    return (record for job in jobs for record in execute(job))


def run_in_workers(jobs: Sequence[Job], workers: int, plugins: Sequence[Path]) -> Generator[Record]:
    """In worker processes, records as they finish.

    Where a worker dies, nobody knows which of the trials under way killed it: each is run once more, alone, and
    recorded as failed if its worker dies again.
    """
    waiting = deque(jobs)
    while waiting:
        for suspect in (yield from _run_pool(waiting, workers, plugins)):
            for single in suspect.singly():
                if (yield from _run_pool(deque([single]), 1, plugins)):
                    died = Outcome({"state": "failed", "reason": "the worker process died"}, {})
                    yield write(single, single.trials[0], died)


def _run_pool(waiting: deque[Job], workers: int, plugins: Sequence[Path]) -> Generator[Record, None, list[Job]]:
    """Take jobs from `waiting` until none is left or a worker dies; returns the jobs that were under way then."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(list(plugins),))
    running: dict[Future[list[Record]], Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:  # no more are handed over, so that few are suspects
                future = pool.submit(execute, waiting[0])
                running[future] = waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                records = future.result()
                del running[future]
                yield from records
    except BrokenProcessPool:
        finished = [future for future in running if future.done() and future.exception() is None]
        for future in finished:
            del running[future]
            yield from future.result()
    finally:
        _stop(pool)
    return list(running.values())


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes at once; what they had under way is not recorded and will be run again."""
    processes = multiprocessing.active_children()
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _start_worker(plugins: list[Path]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    prepare_process()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for plugin in plugins:
        load_plugin(plugin)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers: they watch it, and end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}"


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu ({platform.machine()})"


@lru_cache(maxsize=1)
def _versions() -> dict[str, Any]:
    names = ("gradinv", "torch", "torchvision", "timm", "lpips", "torchmetrics", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
