"""Measuring settings of an attack: as trials of a suite of one cell, on tuning images, each run once."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from gradinv.benchmark.executors import Store, WorkerProcesses, jobs_of, run_here
from gradinv.benchmark.experiment import PlannedTrial
from gradinv.benchmark.runs import Planner, Suite, hash_of, prepare_plan
from gradinv.benchmark.tuning.space import TuneError
from gradinv.metrics.images import METRICS
from gradinv.metrics.leakage import FAMILY
from gradinv.metrics.records import Record, RunDirectory
from gradinv.metrics.registry import unknown


def objective_named(name: str) -> str:
    """The name of a metric of the verdict's family; TuneError for any other."""
    family = [metric for metric in METRICS.names() if any(measures(metric) for measures in FAMILY.values())]
    if name not in family:
        raise TuneError(unknown("objective", name, family))
    return name


def tuning_setting(suite: Suite, objective: str, batches: int) -> Suite:
    """The one cell of a suite, of an attack alone, on tuning images; TuneError where it has several cells."""
    cells = [
        (victim.key, defense, str(size))
        for block in suite.blocks
        for victim in block.victims
        for defense in block.defenses
        for size in block.batch_sizes
    ]
    if len(cells) != 1:
        several = " and ".join(" ".join(cell) for cell in cells[:2])
        raise TuneError(
            f"tuning is for one cell, and {suite.name} has {len(cells)} (such as {several}); choose one with --victim, "
            "--defense, --batch-size or --set, or write a suite of one"
        )
    fields = suite.blocks[0].model_dump() | {
        "split": "tuning",
        "controls": [],
        "metrics": [objective_named(objective)],
        "batches": batches,
    }
    return Suite.model_validate({"name": suite.name, "blocks": [fields]})


class Bench:
    """Scores settings of an attack in one cell; inside `open` it may be asked, with so many worker processes.

    A setting on a batch is a trial of the run directory `run`: what is finished there is not run again.
    """

    def __init__(
        self, setting: Suite, run: RunDirectory, planner: Planner, *, jobs: int, plugins: Sequence[Path] = ()
    ) -> None:
        self.setting, self.run, self.planner, self.jobs, self.plugins = setting, run, planner, jobs, plugins
        (self.objective,) = setting.blocks[0].metrics
        # Known as soon as the first trials are planned; victims are loaded or trained once.
        self.weights_hash: str | None = None
        self.records: dict[str, Record] = {}
        self._pool: WorkerProcesses | None = None

    @property
    def evaluations(self) -> int:
        """All that were spent on what was scored so far, whenever that was."""
        return sum(record.evaluations for record in self.records.values())

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Inside the block there are workers."""
        try:
            if self.jobs > 1:
                self._pool = WorkerProcesses(self.jobs, plugins=self.plugins)
            yield self
        finally:
            if self._pool is not None:
                self._pool.stop()
                self._pool = None

    def planned(self, keys: Sequence[str], batch: int) -> list[PlannedTrial]:
        """The trial of each key on one batch; TuneError where it is impossible in this cell."""
        (block,) = self.setting.blocks
        # A suite has all batches up to its last; only the trials of that one are taken below.
        changes = {"attacks": tuple(dict.fromkeys(keys)), "batches": batch + 1}
        suite = self.setting.model_copy(update={"blocks": (block.model_copy(update=changes),)})
        plan = self.planner.plan(suite, hash_of(self.setting))
        # The victim is the same for every key: trained and hashed once, whatever the number of trials to come.
        if self.weights_hash is None:
            self.weights_hash = prepare_plan(plan, self.run).trials[0].spec.weights_hash
        trials = {t.spec.attack: t.changed(weights_hash=self.weights_hash) for t in plan.trials if _is_of(t, batch)}
        if reason := next((trial.skip_reason for trial in trials.values() if trial.skip_reason), None):
            raise TuneError(f"{keys[0]} is impossible in this cell: {reason}")
        return [trials[key] for key in keys]

    def score(self, keys: Sequence[str], batch: int) -> list[float]:
        """The mean of the objective over the images of one batch, for each key; NaN where its trial has none."""
        trials = self.planned(keys, batch)
        store = Store(self.run)
        missing = {trial.id: trial for trial in trials if not store.finished(trial.id)}
        jobs = jobs_of(list(missing.values()), self.run)
        if self._pool is None:
            # Each step of it runs a trial; its record is read from the store, as those of workers are.
            for _ in run_here(jobs):
                pass
        else:
            try:
                for future in as_completed([self._pool.submit(job) for job in jobs]):
                    future.result()
            except self._pool.death as error:
                raise TuneError("a worker process died; the same command goes on from here") from error
        self.records |= {record.id: record for record in store.read_all(trial.id for trial in trials)}
        return [self._of(self.records.get(trial.id)) for trial in trials]

    def _of(self, record: Record | None) -> float:
        if record is None or not record.is_scored:
            return math.nan
        values = [image.metrics.get(self.objective, math.nan) for image in record.images]
        # As it counts in means everywhere: an exact image has the cap, and not infinity.
        cap = METRICS.constants(self.objective).get("cap", math.inf)
        return math.fsum(min(value, cap) for value in values) / len(values)


def _is_of(trial: PlannedTrial, batch: int) -> bool:
    return trial.spec.repetition == batch
