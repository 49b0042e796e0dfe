"""Running trials in worker processes, which may die or be ended: what they had under way is run again or failed."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from gradinv.benchmark.experiment import Outcome
from gradinv.benchmark.machine import prepare_process
from gradinv.benchmark.runs.executors import Job, execute, recorded
from gradinv.metrics.records import Record
from gradinv.metrics.registry import load_plugin

STARTING = 60.0
"""Seconds that a worker has beyond a trial's limit, for it may have to start and to load the victim first."""


def run_in_workers(jobs: Sequence[Job], workers: int, plugins: Sequence[Path]) -> Generator[Record]:
    """In worker processes, records as they finish.

    Where a worker dies, nobody knows which of the trials under way killed it: each is run once more, alone, and
    recorded as failed if its worker dies again. A trial that takes longer than its limit ends itself; a worker in which
    none does, for it is deep in a kernel or has no alarm, is ended and replaced.
    """
    waiting = deque(jobs)
    while waiting:
        for suspect in (yield from _Pool(workers, plugins).run(waiting)):
            for single in suspect.singly():
                if (yield from _Pool(1, plugins).run(deque([single]))):
                    yield from recorded(single, Outcome(state="failed", reason="the worker process died"))


class _Pool:
    """Worker processes with the jobs that they have under way."""

    def __init__(self, workers: int, plugins: Sequence[Path]) -> None:
        # Spawned, not forked: a fork of a process with torch's threads or a CUDA context hangs or dies.
        context = multiprocessing.get_context("spawn")
        self.workers = workers
        self.executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(list(plugins),))
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
        except BrokenProcessPool:
            # Some may have ended well just before: their records are on disk, running them again would be for nothing.
            finished = [future for future in self.running if future.done() and future.exception() is None]
            for future in finished:
                del self.running[future]
                yield from future.result()
        finally:
            self._stop()
        return list(self.running.values())

    def _submit(self, waiting: deque[Job]) -> None:
        # No more are handed over than there are workers: whatever is handed over is suspect when one dies.
        while waiting and len(self.running) < self.workers:
            future = self.executor.submit(execute, waiting[0])
            self.running[future] = job = waiting.popleft()
            if job.limit is not None:
                self.deadlines[future] = time.monotonic() + job.limit + STARTING

    def _patience(self) -> float | None:
        """Seconds to the next deadline of a job under way; None without any."""
        deadlines = [self.deadlines[future] for future in self.running if future in self.deadlines]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _end_late(self, waiting: deque[Job]) -> Generator[Record]:
        """End all workers, for the executor cannot do without one of them; trials that were too late are failed."""
        self._stop()
        now = time.monotonic()
        for future, job in self.running.items():
            if self.deadlines.get(future, math.inf) > now:
                waiting.appendleft(job)
            elif len(job.trials) > 1:
                waiting.extend(job.singly())  # one of them is to blame
            else:
                yield from recorded(job, Outcome(state="failed", reason=job.lateness))

    def _stop(self) -> None:
        """End the processes at once; what they had under way is not recorded and will be run again."""
        # Taken before `shutdown`, which forgets them; it would also wait for the trials under way, for hours perhaps.
        processes = multiprocessing.active_children()
        self.executor.shutdown(wait=False, cancel_futures=True)
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
