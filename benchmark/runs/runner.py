"""Running a suite: prepare, resume, execute, write what comes out. What is said on the way stands in `console.py`."""

import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from rich.console import Console

from gradinv.benchmark.estimates import Card, estimated_seconds, memory_warnings, seconds_on
from gradinv.benchmark.executors import (
    Job,
    RayActors,
    Store,
    WorkerProcesses,
    in_order,
    jobs_of,
    ray_cluster,
    run_here,
    run_in_workers,
    run_on_slurm,
)
from gradinv.benchmark.machine import usable_cores
from gradinv.benchmark.runs.console import (
    follow,
    print_announcement,
    print_plan,
    print_states,
    print_warnings,
    summed,
)
from gradinv.benchmark.runs.plan import Plan, PlannedTrial
from gradinv.benchmark.runs.prepare import prepare_plan, without_training
from gradinv.benchmark.runs.watchers import Watcher, watched
from gradinv.metrics.boards import lines_by_setting, print_leaderboard, write_board
from gradinv.metrics.comparison import Contrast
from gradinv.metrics.figures import Material, draw_all
from gradinv.metrics.images import METRICS, Facts, facts_of, measured_metrics
from gradinv.metrics.records import LOST, Record, RunDirectory, read_file, read_records, remember, write_text
from gradinv.metrics.registry import RequestError


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; none of it changes a result.

    `executor` is local, ray or slurm; `cluster` holds what it is to be asked for: for Ray `address` and `gpus` (a
    worker), for Slurm submitit's parameters. `deadline`, by `time.monotonic`, ends the run after the trial that it
    finds at work; what is missing then is run by the same call. `watchers` are told of every trial that ends.
    """

    run: RunDirectory
    jobs: int
    plugins: tuple[Path, ...] = ()
    shard: tuple[int, int] = (1, 1)
    figures: bool = True
    download: bool = False
    trial_timeout: float | None = None
    breadth_first: bool = False
    executor: str = "local"
    cluster: Mapping[str, Any] = field(default_factory=dict)
    keep_floats: bool = False
    deadline: float = math.inf
    watchers: tuple[Watcher, ...] = ()


class _Contrasts(BaseModel):
    """What is read of a suite that was kept in a run directory."""

    contrasts: list[Contrast]


class Ended(NamedTuple):
    """What a run came to: the records of its shard's trials that can be read, and how many trials these are."""

    records: list[Record]
    planned: int

    @property
    def status(self) -> int:
        """The exit status: 0 where every planned trial has a readable record of a finished trial, else 1."""
        lost = any(record.state in LOST for record in self.records)
        return 1 if lost or len(self.records) < self.planned else 0


def default_jobs(device: str) -> int:
    """Worker processes that suit the machine: one a core, at most eight, on the CPU; one on a GPU."""
    return 1 if device == "cuda" else min(usable_cores(), 8)


def run_plan(plan: Plan, options: RunOptions, console: Console) -> Ended:
    """Run what is missing, then write leaderboard and figures. Raises VictimError where a victim cannot be had."""
    if not _of_shard(plan.trials, options.shard):
        console.print("this shard has no trials: there are more shards than trials")
        return Ended([], 0)
    plan = prepare_plan(plan, options.run, download=options.download)
    trials = _of_shard(plan.trials, options.shard)
    _run_missing(plan, trials, options, console)
    # Read again from the disk: what counts is not what was run but what whoever reads the directory will find.
    records = Store(options.run).read_all(trial.id for trial in trials)
    if records:  # without any there is no board, and what is to be said is how many are missing
        write_results(options.run, {trial.id for trial in plan.trials}, console, figures=options.figures)
    print_states(records, len(trials), console)
    return Ended(records, len(trials))


def _of_shard(trials: Sequence[PlannedTrial], shard: tuple[int, int]) -> list[PlannedTrial]:
    part, parts = shard
    # Every n-th, not a stretch: neighbours cost alike, and so the parts of a suite do.
    return list(trials[part - 1 :: parts])


def _run_missing(plan: Plan, trials: Sequence[PlannedTrial], options: RunOptions, console: Console) -> None:
    """Say what will be run, and run it; progress goes to stderr."""
    store = Store(options.run)
    store.clean()
    missing = [trial for trial in trials if not store.finished(trial.id)]
    # For `gradinv plot`, which draws the contrasts that the suite names.
    write_text(options.run.suite, plan.suite.model_dump_json(indent=1))
    remember(options.run, options.plugins, _foreign_metrics(plan))
    seconds = estimated_seconds(plan, missing, plan.device)
    total, unknown = summed(seconds)
    print_announcement(
        plan,
        console,
        trials=len(trials),
        missing=len(missing),
        seconds=total / options.jobs,
        unknown=unknown,
        jobs=options.jobs,
    )
    print_warnings(memory_warnings(plan, missing, plan.device, options.jobs), console)
    estimates = {trial.id: estimate for trial, estimate in zip(missing, seconds, strict=True)}
    # Workers elsewhere do not start in this folder.
    run = options.run if options.executor == "local" else RunDirectory(options.run.path.resolve())
    jobs = jobs_of(missing, run, options.trial_timeout, keep_floats=options.keep_floats)
    jobs = in_order(jobs, estimates, options.jobs, breadth_first=options.breadth_first)
    # Closed at once where the run is stopped: the generator's end is what ends the worker processes.
    with closing(_execute(jobs, options)) as records:
        follow(watched(_until(options.deadline, records), options.watchers, len(missing)), estimates)


def _until(deadline: float, records: Iterable[Record]) -> Iterator[Record]:
    """The records that are there before the deadline, and the one that is made meanwhile."""
    for record in records:
        yield record
        if time.monotonic() >= deadline:
            return


def _foreign_metrics(plan: Plan) -> dict[str, Facts]:
    """What is known of the metrics of plug-ins and other packages that the plan's trials are scored with."""
    asked = {metric for block in plan.suite.blocks for metric in measured_metrics(block.metrics)}
    facts = {metric: facts_of(metric) for metric in sorted(asked) if METRICS.is_foreign(metric)}
    return {metric: known for metric, known in facts.items() if known is not None}


def _execute(jobs: Sequence[Job], options: RunOptions) -> Generator[Record]:
    """The records as they finish."""
    workers = min(options.jobs, len(jobs))
    if jobs and options.executor == "ray":
        return _on_ray(jobs, workers, options)
    if jobs and options.executor == "slurm":
        return run_on_slurm(jobs, workers, options.plugins, options.run, options.cluster)
    if options.jobs == 1:
        return run_here(jobs)  # no process to start, and a debugger can follow
    return run_in_workers(jobs, workers, partial(WorkerProcesses, plugins=options.plugins))


def _on_ray(jobs: Sequence[Job], workers: int, options: RunOptions) -> Generator[Record]:
    settings = dict(options.cluster)
    with ray_cluster(settings.pop("address", None), workers) as cluster:
        start = partial(RayActors, cluster, plugins=options.plugins, **settings)
        yield from run_in_workers(jobs, workers, start)


def show_plan(plan: Plan, options: RunOptions, console: Console, card: Card | None = None) -> None:
    """What `--dry-run` shows: the cells of a plan with their state, evaluations and time.

    Trains, downloads and writes nothing. The time is measured here, or, on a card that is elsewhere, reckoned.
    """
    plan, store = without_training(plan, or_download=True), Store(options.run)
    missing = [trial for trial in plan.trials if trial.spec.weights_hash is None or not store.finished(trial.id)]
    seconds = seconds_on(card, plan, missing) if card else estimated_seconds(plan, missing, plan.device)
    print_plan(plan, missing, seconds, options.jobs, console, place="" if card is None else card.name)


def write_results(run: RunDirectory, asked: AbstractSet[str], console: Console, *, figures: bool = True) -> None:
    """Leaderboard, figures and contact sheets of the trials that were `asked` for, and the table on the console.

    What else lies in the run directory (another suite's trials, those of a plug-in before it was edited) is counted in
    a line and left out: `gradinv leaderboard` shows all of it, in rows of its own.
    """
    every, faults = read_records([run.path])
    print_warnings(faults, console)
    records = [record for record in every if record.id in asked]
    board = write_board(records, run.board)
    drawn = draw_all(Material(records, contrasts_of(run), [run.path]), run.figures) if figures else []
    print_leaderboard(lines_by_setting(records, board), console)
    files = [str(run.board), str(run.images), *([f"{len(drawn)} figures in {run.figures}"] if drawn else [])]
    console.print(f"{len(records)} records; wrote {', '.join(files)}", soft_wrap=True)
    if len(records) < len(every):
        console.print(f"{len(every) - len(records)} records of other suites or specifications are not on this board")


def contrasts_of(run: RunDirectory) -> list[Contrast]:
    """The contrasts of the suite that was last run into the directory; none where no suite was kept there."""
    if not run.suite.is_file():
        return []
    # Not as a suite: its entries may be of plug-ins, which nobody has to load in order to draw records.
    try:
        return _Contrasts.model_validate_json(read_file(run.suite)).contrasts
    except (ValueError, OSError) as error:
        raise RequestError(f"{run.suite} is no suite of gradinv; delete it and run the suite again") from error
