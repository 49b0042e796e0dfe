"""Workers on a Ray cluster (extra `ray`): one actor a worker, on whatever machines the cluster has.

Records are written where trials run, so that the run directory, the data and the checkout must be reachable under the
same paths from every machine.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gradinv.benchmark.runs.executors import Job, execute
from gradinv.benchmark.runs.worker_processes import prepare_worker
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
    started: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **started)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"--executor ray: no cluster at {address or 'this machine'} ({reason})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class RayActors:
    """So many actors of a Ray cluster, each with one processor and `gpus` of a GPU; `stop` ends them."""

    def __init__(self, cluster: Any, workers: int, plugins: Sequence[Path], gpus: float = 0.0) -> None:
        self.death: type[Exception] = cluster.exceptions.RayActorError
        self._kill = cluster.kill
        paths = [path.resolve() for path in plugins]
        actor = cluster.remote(num_cpus=1, num_gpus=gpus)(_Worker)
        self._actors = [actor.remote(paths) for _ in range(workers)]
        self._busy: dict[int, Future[list[Record]]] = {}

    def submit(self, job: Job) -> Future[list[Record]]:
        """The records of a job, by an actor that has none; `death` where it died before."""
        idle = next(i for i in range(len(self._actors)) if i not in self._busy or self._busy[i].done())
        future: Future[list[Record]] = self._actors[idle].execute.remote(job).future()
        self._busy[idle] = future
        return future

    def stop(self) -> None:
        """End the actors at once."""
        for actor in self._actors:
            self._kill(actor, no_restart=True)


class _Worker:
    """The process of an actor."""

    def __init__(self, plugins: Sequence[Path]) -> None:
        prepare_worker(plugins)

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
