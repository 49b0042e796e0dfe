"""Where trials run: in this process, or in local worker processes. A trial writes its own record."""

import importlib.metadata
import multiprocessing
import os
import platform
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmark.client import ImpossibleCellError
from benchmark.datasets import create_dataset
from benchmark.datasets.base import Dataset
from benchmark.networks import build_network
from benchmark.plan import Plan, Trial
from benchmark.store import Store
from benchmark.trial import Outcome, run_trial
from benchmark.victims import LoadedVictim
from metrics.record import Record
from metrics.registry import load_plugin

LOST_WORKERS_ALLOWED = 1
"""How often a trial may be started again after its worker process died."""


@dataclass(frozen=True)
class Job:
    """A trial with what a process needs to run it and to write its record."""

    trial: Trial
    directory: Path
    suite: str
    suite_hash: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    state: str


def jobs_of(plan: Plan, trials: Sequence[Trial], directory: Path) -> list[Job]:
    """The jobs of some of a plan's trials."""
    return [
        Job(
            trial,
            directory,
            plan.suite.name,
            plan.suite_hash,
            plan.victims[trial.spec.weights_hash].mean,
            plan.victims[trial.spec.weights_hash].std,
            plan.victims[trial.spec.weights_hash].state,
        )
        for trial in trials
    ]


def execute(job: Job) -> Record:
    """Run a job and write its record; whatever the trial raises becomes the record's state and reason."""
    try:
        outcome = run_trial(job.trial.spec, _dataset(job.trial.spec.dataset, job.trial.spec.image_size), _victim(job))
    except ImpossibleCellError as error:
        outcome = Outcome({"state": "skipped", "reason": str(error)}, {})
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        outcome = Outcome({"state": "oom", "reason": _first_line(error)}, {})
    except Exception as error:  # noqa: BLE001 - contract 5: no failure of one trial, of whatever kind, stops the suite
        where = "".join(traceback.format_exception(error))
        outcome = Outcome({"state": "failed", "reason": _first_line(error), "notes": [where]}, {})
    return write(job, outcome)


def write(job: Job, outcome: Outcome) -> Record:
    """Put the record of a job on disk."""
    spec = job.trial.spec
    record = Record(
        id=job.trial.id,
        suite=job.suite,
        order=job.trial.order,
        repetition=spec.repetition,
        cell=job.trial.cell,
        spec={**spec.model_dump(mode="json"), "suite_hash": job.suite_hash},
        engine=spec.engine,
        threads=spec.threads,
        device=_device_name(spec.device),
        versions=_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        **outcome.fields,
    )
    Store(job.directory).write(record, outcome.tensors)
    return record


@lru_cache(maxsize=4)
def _dataset(name: str, image_size: int) -> Dataset:
    return create_dataset(name, image_size)


def _victim(job: Job) -> LoadedVictim:
    spec = job.trial.spec
    module = _module(job.directory / "victims" / f"{spec.weights_hash}.safetensors", job)
    return LoadedVictim(module, job.mean, job.std, spec.weights_hash, job.state, None)


_MODULES: dict[Path, torch.nn.Module] = {}


def _module(path: Path, job: Job) -> torch.nn.Module:
    """The network of a weight file of the run directory; the last one is kept, since trials come victim by victim."""
    if path not in _MODULES:
        spec = job.trial.spec
        _MODULES.clear()
        module = build_network(
            spec.victim.model,
            num_classes=len(_dataset(spec.dataset, spec.image_size).classes),
            image_size=spec.image_size,
            stem=spec.victim.stem,
        )
        module.load_state_dict(load_file(path))
        _MODULES[path] = module
    return _MODULES[path]


def run_here(jobs: Sequence[Job]) -> Iterator[Record]:
    """One after another in this process."""
    return (execute(job) for job in jobs)


def run_in_workers(jobs: Sequence[Job], workers: int, plugins: Sequence[Path]) -> Iterator[Record]:
    """In worker processes, records as they finish.

    At most `workers` jobs are under way. Where a worker dies its jobs are started again in new workers, once; then they
    are recorded as failed.
    """
    waiting, lost = list(reversed(jobs)), dict.fromkeys((job.trial.id for job in jobs), 0)
    while waiting:
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(list(plugins),)
        )
        running: dict[Future[Record], Job] = {}
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job = waiting.pop()
                    running[pool.submit(execute, job)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    record = future.result()
                    del running[future]
                    yield record
        except BrokenProcessPool:
            for job in running.values():
                lost[job.trial.id] += 1
                if lost[job.trial.id] > LOST_WORKERS_ALLOWED:
                    yield write(job, Outcome({"state": "failed", "reason": "the worker process died"}, {}))
                else:
                    waiting.append(job)
        finally:
            _stop(pool)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes at once; what they had under way is not recorded and will be run again."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _start_worker(plugins: list[Path]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
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
