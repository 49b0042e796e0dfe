"""Worker processes of this machine, of which a pool of workers is made unless a cluster is asked for."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from gradinv.benchmark.executors.jobs import Job, execute
from gradinv.benchmark.machine import prepare_process
from gradinv.benchmark.plugins import load_plugin
from gradinv.metrics.records import Record

_START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class WorkerProcesses:
    """So many processes of this machine; `stop` ends them, whatever they have under way."""

    death: type[Exception] = BrokenProcessPool

    def __init__(self, workers: int, plugins: Sequence[Path]) -> None:
        # Not forked from this process: a fork of one with torch's threads or a CUDA context hangs or dies. The server
        # only imports what trials need, once, so that workers start at once and share its memory.
        context = multiprocessing.get_context(_START_METHOD)
        context.set_forkserver_preload([execute.__module__])
        self._executor = ProcessPoolExecutor(
            workers, context, initializer=start_worker, initargs=(list(plugins), dict(os.environ))
        )

    def submit(self, job: Job) -> Future[list[Record]]:
        """The records of a job, once they are on disk; `death` where a process died before."""
        return self._executor.submit(execute, job)

    def stop(self) -> None:
        """End the processes at once; what they had under way is not recorded and will be run again."""
        # Taken before `shutdown`, which forgets them; it would also wait for the trials under way, for hours perhaps.
        processes = multiprocessing.active_children()
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def start_worker(plugins: Sequence[Path], environment: Mapping[str, str]) -> None:
    """Make a process ready to run trials: one thread, the plug-ins, an end when its parent ends."""
    # The server has the environment of when it was started, for the first run of this process.
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches the whole group: the parent ends the run, and no worker prints a traceback of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_worker(plugins)


def prepare_worker(plugins: Sequence[Path]) -> None:
    """The part that every kind of worker needs."""
    torch.set_num_threads(1)
    prepare_process()
    for plugin in plugins:
        load_plugin(plugin)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers: they watch it, and end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the main thread is deep in a kernel and would not see an exception for minutes
