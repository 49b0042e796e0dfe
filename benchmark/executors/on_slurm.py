"""A Slurm job array by submitit (extra `slurm`): one element a worker, each with its share of the jobs.

An element that is preempted is queued again and goes on with what has no record yet. Records are written where trials
run, so that the run directory and the data must be on a file system that all machines share.
"""

import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gradinv.benchmark.executors.jobs import Job, execute
from gradinv.benchmark.executors.store import Store
from gradinv.benchmark.executors.worker_processes import prepare_worker
from gradinv.benchmark.stopping import Stopped
from gradinv.metrics.records import FINISHED, Record, RunDirectory
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from submitit import Job as ArrayElement
    from submitit.helpers import DelayedSubmission

LOOKED_EVERY = 1.0
"""Seconds between two looks at the run directory: on a network file system each look has a price."""
ONE_WEEK = 7 * 24 * 60


def run_on_slurm(
    jobs: Sequence[Job], workers: int, plugins: Sequence[Path], run: RunDirectory, settings: Mapping[str, Any]
) -> Generator[Record]:
    """The records as they appear in the run directory, until every element of the array has ended.

    `settings` are submitit's parameters, such as `timeout_min`, `mem_gb` or `slurm_partition`; `cluster` local or
    debug runs the array on this machine. RequestError where submitit is missing or refuses a setting. When the
    generator is closed, the elements that have not ended are cancelled.
    """
    array = _submitted([Share(jobs[i::workers], plugins) for i in range(workers)], run, dict(settings))
    awaited, store = {trial.id for job in jobs for trial in job.trials}, Store(run)
    try:
        while awaited:
            # Asked before the look: what an element wrote last before it ended must not be missed.
            is_over = all(element.done() for element in array)
            arrived = [record for record in store.read_all(sorted(awaited)) if is_over or record.state in FINISHED]
            awaited -= {record.id for record in arrived}
            yield from arrived
            if is_over:
                return
            time.sleep(LOOKED_EVERY)
    except BaseException:  # whatever ends the run, a closed generator too; an array that has nothing left ends itself
        for element in array:
            element.cancel(check=False)
        raise


def _submitted(shares: "Sequence[Share]", run: RunDirectory, settings: dict[str, Any]) -> "list[ArrayElement[None]]":
    try:
        import submitit
    except ImportError:
        raise RequestError('--executor slurm needs submitit: pip install "gradinv[slurm]"') from None
    try:
        executor = submitit.AutoExecutor(folder=run.path / "slurm", cluster=settings.pop("cluster", "slurm"))
        defaults = {"name": "gradinv", "timeout_min": ONE_WEEK, "cpus_per_task": 1}
        executor.update_parameters(**defaults | settings)
        with executor.batch():
            array = [executor.submit(share) for share in shares]
    # submitit names a setting that it does not know with a NameError, and misses Slurm's own command with the last.
    except (NameError, TypeError, ValueError, AssertionError, RuntimeError, FileNotFoundError) as error:
        raise RequestError(f"--executor slurm: {' '.join(str(error).split())[:300]}") from error
    return array


class Share:
    """What one element of the array does: its jobs one after another, of which some may have been done before."""

    def __init__(self, jobs: Sequence[Job], plugins: Sequence[Path]) -> None:
        self.jobs, self.plugins = jobs, [path.resolve() for path in plugins]

    def __call__(self) -> None:
        """Run what has no finished record."""
        prepare_worker(self.plugins)
        preemption = _Preemption()
        try:
            for job in self.jobs:
                store = Store(job.run)
                if not all(store.finished(trial.id) for trial in job.trials):
                    execute(job)
        except Stopped:
            raise preemption.end from None

    def checkpoint(self) -> "DelayedSubmission":
        """The same share: what it has done stands in the run directory."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Preemption:
    """Lets submitit's signal end the element, and not the trial that is under way when it comes.

    submitit's handlers queue the element again and then raise, in whatever code is running; a trial would take that for
    its attack's own failure. They are called as before, and what they raise is kept for when the trial has let go.
    """

    def __init__(self) -> None:
        self.end: BaseException = SystemExit(1)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, self._kept(handler))

    def _kept(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as end:  # noqa: BLE001 - kept, and raised when the trial has let go
                self.end = end
                raise Stopped(number) from None

        return handle
