"""Where trials run: in this process, or in local worker processes. A trial's record is written where it ran."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from traceback import format_exception

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gradinv.benchmark.datasets import Dataset, create_dataset
from gradinv.benchmark.experiment import ImpossibleCellError, Outcome, PlannedTrial, make_record, run_together
from gradinv.benchmark.machine import prepare_process
from gradinv.benchmark.runs.store import Store
from gradinv.benchmark.victims import LoadedVictim, Stem, VictimError, build_network, normalisation_for, weights_hash
from gradinv.metrics.records import Record, RunDirectory
from gradinv.metrics.registry import load_plugin


@dataclass(frozen=True)
class Job:
    """Trials that run side by side, mostly one, and the run directory with their victim's weights."""

    trials: tuple[PlannedTrial, ...]
    run: RunDirectory

    def singly(self) -> "list[Job]":
        """The same trials as jobs of one each."""
        return [replace(self, trials=(trial,)) for trial in self.trials]


def jobs_of(trials: Sequence[PlannedTrial], run: RunDirectory) -> list[Job]:
    """The jobs of some of a plan's trials: those of one pack come together, as many as the engine takes."""
    packs: dict[str, list[PlannedTrial]] = {}
    # In the plan's order, which is victim by victim: `_module` keeps one network, the last.
    for trial in trials:
        packs.setdefault(trial.spec.pack if trial.packed > 1 else trial.id, []).append(trial)
    chunks = [
        tuple(pack[i : i + pack[0].packed]) for pack in packs.values() for i in range(0, len(pack), pack[0].packed)
    ]
    return [Job(chunk, run) for chunk in chunks]


def execute(job: Job) -> list[Record]:
    """Run a job and hand its records to the store; whatever a trial raises becomes its record's state and reason.

    Where one of several raises, each is run again by itself, so that it fails alone.
    """
    try:
        outcomes = _outcomes(job)
        records = [make_record(trial, outcome) for trial, outcome in zip(job.trials, outcomes, strict=True)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - contract 5: no failure of one trial stops the suite
        failure = _failure(error)
    else:
        # Outside of `try`: a disk that is full or gone is no failure of a trial, and must stop the run.
        return _stored(job, records, outcomes)
    # Outside of `except`: the error's traceback holds on to all tensors of the pack.
    if len(job.trials) > 1:
        return [record for single in job.singly() for record in execute(single)]
    return _stored(job, [make_record(job.trials[0], failure)], [failure])


def _stored(job: Job, records: list[Record], outcomes: Sequence[Outcome]) -> list[Record]:
    """The records, now on disk with their pictures."""
    store = Store(job.run)
    for record, outcome in zip(records, outcomes, strict=True):
        store.write(record, outcome.tensors)
    return records


def _outcomes(job: Job) -> list[Outcome]:
    spec = job.trials[0].spec
    dataset = _dataset(spec.dataset, spec.image_size)
    return run_together([trial.spec for trial in job.trials], dataset, _victim(job, dataset))


def _failure(error: BaseException) -> Outcome:
    """What is recorded of a trial that raised."""
    if isinstance(error, ImpossibleCellError):
        return Outcome(state="skipped", reason=str(error))
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()  # else the blocks that the failed trial cached are missing for the next one
        return Outcome(state="oom", reason=_first_line(error))
    return Outcome(state="failed", reason=_first_line(error), notes=["".join(format_exception(error))])


# Cached in the process that runs trials: a data set is opened and decoded once, whatever number of trials it gives.
@lru_cache(maxsize=4)
def _dataset(name: str, image_size: int) -> Dataset:
    return create_dataset(name, image_size)


def _victim(job: Job, dataset: Dataset) -> LoadedVictim:
    """The victim, with the weights in the run directory."""
    planned = job.trials[0]
    spec = planned.spec
    if spec.weights_hash is None:
        raise ValueError(f"the weights of {spec.victim.key} are not known; prepare the plan before it is run")
    path = job.run.weights(spec.weights_hash)
    module, source = _module(path, spec.victim.model, len(dataset.classes), spec.image_size, spec.victim.stem)
    mean, std = normalisation_for(spec.victim, dataset)
    return LoadedVictim(module, mean, std, spec.weights_hash, planned.cell.victim_state, accuracy=None, source=source)


@lru_cache(maxsize=1)
def _module(path: Path, model: str, num_classes: int, image_size: int, stem: Stem) -> tuple[torch.nn.Module, str]:
    """The network of a weight file and the source of its weights; the last is kept: trials come victim by victim."""
    # Safetensors only: a run directory may come from someone else, and no pickle is ever loaded.
    module = build_network(model, num_classes=num_classes, image_size=image_size, stem=stem)
    module.load_state_dict(load_file(path))
    if weights_hash(module) != path.stem:
        raise VictimError(f"{path} does not hold the weights that its name says; delete it and run the suite again")
    with safe_open(path, framework="pt") as file:
        return module, (file.metadata() or {}).get("source", "")


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
                    death = Outcome(state="failed", reason="the worker process died")
                    yield from _stored(single, [make_record(single.trials[0], death)], [death])


def _run_pool(waiting: deque[Job], workers: int, plugins: Sequence[Path]) -> Generator[Record, None, list[Job]]:
    """Take jobs from `waiting` until none is left or a worker dies; returns the jobs that were under way then."""
    # Spawned, not forked: a fork of a process with torch's threads or a CUDA context hangs or dies.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(list(plugins),))
    running: dict[Future[list[Record]], Job] = {}
    try:
        while waiting or running:
            # No more are handed over than there are workers: whatever is handed over is suspect when one dies.
            while waiting and len(running) < workers:
                future = pool.submit(execute, waiting[0])
                running[future] = waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                records = future.result()
                del running[future]
                yield from records
    except BrokenProcessPool:
        # Some may have ended well just before: their records are on disk, and running them again would be for nothing.
        finished = [future for future in running if future.done() and future.exception() is None]
        for future in finished:
            del running[future]
            yield from future.result()
    finally:
        _stop(pool)
    return list(running.values())


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes at once; what they had under way is not recorded and will be run again."""
    # Taken before `shutdown`, which forgets them; it would also wait for the trials under way, for hours perhaps.
    processes = multiprocessing.active_children()
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _start_worker(plugins: list[Path]) -> None:
    # Ctrl-C reaches the whole group: the parent ends the run, and no worker prints a traceback of its own.
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
        os._exit(1)  # the main thread is deep in a kernel and would not see an exception for minutes


def _first_line(error: BaseException) -> str:
    # One line of bounded length: it stands in a board's notes, while the traceback stays in the record.
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}"
