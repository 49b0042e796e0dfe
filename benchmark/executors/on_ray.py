"""Workers on a Ray cluster (extra `ray`): one actor a worker, on whatever machines the cluster has.

Records are written where trials run, so that the run directory, the data and the checkout must be reachable under the
same paths from every machine.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from gradinv.benchmark.executors.jobs import Job, execute
from gradinv.benchmark.executors.worker_processes import prepare_worker
from gradinv.metrics.records import Record
from gradinv.metrics.registry import RequestError


@contextlib.contextmanager
def ray_cluster(address: str | None, workers: int) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`, or to one that is started here for so many workers and ends with it.

    RequestError where Ray is not installed or nobody answers at the address.
    """
    try:
        import ray
    except ImportError:
        raise RequestError('--executor ray needs Ray: pip install "gradinv[ray]"') from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported anywhere unless somebody asks for it
    os.environ.setdefault("RAY_worker_niceness", "0")  # else workers started here give way to everything else
    settings: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    # An actor's environment is that of its machine; where data and caches are was said here.
    said = {name: value for name, value in os.environ.items() if name.startswith("GRADINV_")}
    settings["runtime_env"] = {"env_vars": said}
    try:
        ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"--executor ray: no cluster at {address or 'this machine'} ({reason})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class RayActors:
    """So many actors of a Ray cluster, each with one processor and `gpus` of a GPU; `stop` ends them.

    An actor gets jobs once it has its place in the cluster: after the loss of a machine there may be fewer places than
    actors, and a job must not wait for one that comes never.
    """

    def __init__(self, cluster: Any, workers: int, plugins: Sequence[Path], gpus: float = 0.0) -> None:
        self.death: type[Exception] = cluster.exceptions.RayActorError
        self._kill, self._lock = cluster.kill, threading.Lock()
        paths = [path.resolve() for path in plugins]
        actor = cluster.remote(num_cpus=1, num_gpus=gpus)(_Worker)
        self._actors = [actor.remote(paths) for _ in range(workers)]
        self._idle: list[Any] = []
        self._waiting: deque[tuple[Job, Future[list[Record]]]] = deque()
        self._alive = workers
        for started in self._actors:
            started.ready.remote().future().add_done_callback(partial(self._started, started))

    def submit(self, job: Job) -> Future[list[Record]]:
        """The records of a job, by the first actor that is idle; `death` where that one died."""
        future: Future[list[Record]] = Future()
        with self._lock:
            self._waiting.append((job, future))
        self._hand_out()
        return future

    def stop(self) -> None:
        """End the actors at once."""
        for actor in self._actors:
            self._kill(actor, no_restart=True)

    def _started(self, actor: Any, ready: "Future[None]") -> None:
        """An actor has its place, or died before it had one; without any left, nothing that waits is ever run."""
        error = ready.exception()
        with self._lock:
            self._alive -= error is not None
            if error is None:
                self._idle.append(actor)
            lost = list(self._waiting) if not self._alive else []
        for _, future in lost:
            future.set_exception(error)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give what waits to actors that are idle."""
        while True:
            with self._lock:
                if not (self._waiting and self._idle):
                    return
                (job, future), actor = self._waiting.popleft(), self._idle.pop()
            result = actor.execute.remote(job).future()
            result.add_done_callback(partial(self._done, actor, future))

    def _done(self, actor: Any, future: Future[list[Record]], result: Future[list[Record]]) -> None:
        if error := result.exception():
            future.set_exception(error)
            return
        with self._lock:
            self._idle.append(actor)
        future.set_result(result.result())
        self._hand_out()


class _Worker:
    """The process of an actor."""

    def __init__(self, plugins: Sequence[Path]) -> None:
        prepare_worker(plugins)

    def ready(self) -> None:
        """Answers once the actor has its place."""

    def execute(self, job: Job) -> list[Record]:
        return execute(job)


def nodes_in_words(cluster: Any) -> str:
    """How many machines of the cluster are alive, and their processors.

    >>> class Cluster:
    ...     nodes = staticmethod(lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False}])
    >>> nodes_in_words(Cluster)
    '1 machine, 2 processors'
    """
    alive = [node for node in cluster.nodes() if node["Alive"]]
    processors = sum(int(node["Resources"].get("CPU", 0)) for node in alive)
    return f"{len(alive)} machine{'s' * (len(alive) != 1)}, {processors} processors"
