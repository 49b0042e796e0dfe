"""Running trials in workers, which may die or be ended: what they had under way is run again or failed."""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from gradinv.benchmark.executors.jobs import Job, recorded
from gradinv.benchmark.experiment import Outcome
from gradinv.metrics.records import Record

STARTING = 60.0
"""Seconds that a worker has beyond a trial's limit, for it may have to start and to load the victim first."""


class Workers(Protocol):
    """Some workers, which take one job each at a time."""

    death: type[Exception]
    """What the result of a job raises whose worker died."""

    def submit(self, job: Job) -> Future[list[Record]]:
        """Hand a job to a worker that has none; its records are on disk when they come."""
        ...

    def stop(self) -> None:
        """End all workers at once, with what they have under way."""
        ...


def run_in_workers(jobs: Sequence[Job], workers: int, start: Callable[[int], Workers]) -> Generator[Record]:
    """In so many workers, which `start` makes, records as they finish.

    Where a worker dies, nobody knows which of the trials under way killed it: each is run once more, with no other
    beside it, and recorded as failed if its worker dies again. A trial that takes longer than its limit ends itself; a
    worker in which none does, for it is deep in a kernel or has no alarm, is ended and replaced.
    """
    waiting = deque(jobs)
    while waiting:
        suspects = yield from _Pool(start(workers), workers).run(waiting)
        yield from _one_by_one(suspects, start)


def _one_by_one(suspects: Sequence[Job], start: Callable[[int], Workers]) -> Generator[Record]:
    """The trials of jobs whose worker died, in a worker that has one at a time."""
    waiting = deque(single for job in suspects for single in job.singly())
    while waiting:
        first = waiting[0]
        for job in (yield from _Pool(start(1), 1).run(waiting)):
            # What killed a worker that others had used before may be what those left behind.
            if job is first:
                yield from recorded(job, Outcome(state="failed", reason="the worker process died"))
            else:
                waiting.appendleft(job)


class _Pool:
    """Workers with the jobs that they have under way."""

    def __init__(self, workers: Workers, count: int) -> None:
        self.workers, self.count = workers, count
        self.running: dict[Future[list[Record]], Job] = {}
        self.deadlines: dict[Future[list[Record]], float] = {}

    def run(self, waiting: deque[Job]) -> Generator[Record, None, list[Job]]:
        """Take jobs from `waiting` until none is left or workers must be replaced.

        Returns the jobs that were under way when a worker died. Where one was ended because of its trial, the others
        that were under way wait again.
        """
        try:
            while waiting or self.running:
                self._submit(waiting)
                done = wait(self.running, timeout=self._patience(), return_when=FIRST_COMPLETED).done
                for future in done:
                    records = future.result()
                    del self.running[future]
                    yield from records
                if not done:
                    yield from self._end_late(waiting)
                    return []
        except self.workers.death:
            # Some may have ended well just before: their records are on disk, running them again would be for nothing.
            finished = [future for future in self.running if future.done() and future.exception() is None]
            for future in finished:
                del self.running[future]
                yield from future.result()
        finally:
            self.workers.stop()
        return list(self.running.values())

    def _submit(self, waiting: deque[Job]) -> None:
        # No more are handed over than there are workers: whatever is handed over is suspect when one dies.
        while waiting and len(self.running) < self.count:
            future = self.workers.submit(waiting[0])
            self.running[future] = job = waiting.popleft()
            if job.limit is not None:
                self.deadlines[future] = time.monotonic() + job.limit + STARTING

    def _patience(self) -> float | None:
        """Seconds to the next deadline of a job under way; None without any."""
        deadlines = [self.deadlines[future] for future in self.running if future in self.deadlines]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _end_late(self, waiting: deque[Job]) -> Generator[Record]:
        """End all workers, for there is no way to end one of them; trials that were too late are failed."""
        self.workers.stop()
        now = time.monotonic()
        for future, job in self.running.items():
            if self.deadlines.get(future, math.inf) > now:
                waiting.appendleft(job)
            elif len(job.trials) > 1:
                waiting.extend(job.singly())  # one of them is to blame
            else:
                yield from recorded(job, Outcome(state="failed", reason=job.lateness))
