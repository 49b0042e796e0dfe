"""Runs that are killed at random moments lose, double and change no record.

A short campaign is part of the tests; `GRADINV_TEST_KILLS=100 pytest tests/faults` is the long one.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.cluster_utils import Cluster

KILLS = int(os.environ.get("GRADINV_TEST_KILLS", "1"))
RAY_KILLS = KILLS // 5
BATCHES = 2 if KILLS < 10 else 9
TRIALS = 7 * BATCHES
MEASURED = {"seconds", "peak_memory_mb", "date"}
SUITE = f"""\
name: kills
dataset: photos
image_size: 16
victims: [{{model: lenet_dlg, state: untrained}}]
attacks: [dlg, inverting_gradients]
controls: [other_gradient, prior_only, mean_image]
batches: {BATCHES}
budget: 40
metrics: [psnr, ssim]
"""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> "Campaign":
    return Campaign(tmp_path_factory.mktemp("kills"))


class Campaign:
    """The suite, run once without a disturbance, and again under kills."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.random = folder, random.Random(0)
        (folder / "kills.yaml").write_text(SUITE)
        self.environment = os.environ | {"OMP_NUM_THREADS": "1", "GRADINV_CACHE": str(folder / "cache")}
        assert self.start("whole").wait() == 0
        self.whole = self.records("whole")

    def start(self, out: str, *options: str) -> subprocess.Popen[bytes]:
        """The run in a process group of its own."""
        command = [sys.executable, "-c", "from gradinv.benchmark.cli import main; main()", "run", "kills.yaml"]
        command += ["--jobs", "2", "--no-figures", "--device", "cpu", "--out", out, *options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **quiet)

    def records(self, out: str) -> dict[str, tuple[dict[str, Any], bytes]]:
        """What each trial measured, and its pictures, by the name of its folder; unfinished folders are none."""
        records = {}
        for path in (self.folder / out / "trials").glob("[!.]*/record.json"):
            record = json.loads(path.read_text())
            pictures = path.with_name("tensors.safetensors")
            steady = {name: value for name, value in record.items() if name not in MEASURED}
            records[path.parent.name] = (steady, pictures.read_bytes() if pictures.exists() else b"")
        return records

    def board(self, out: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / out / "leaderboard.csv").drop(
            columns=["seconds_mean", "peak_memory_mb", "date"]
        )

    def wait_for_a_moment(self, process: "subprocess.Popen[bytes]", out: str, least: int) -> None:
        """Until a few more trials are done, `least` of them, and a little longer; or the run is over."""
        wanted = len(self.names(out)) + self.random.randint(least, 8)
        while process.poll() is None and len(self.names(out)) < wanted:
            time.sleep(0.02)
        time.sleep(self.random.uniform(0, 0.5) if wanted else self.random.uniform(0, 5))

    def names(self, out: str) -> list[Path]:
        return list((self.folder / out / "trials").glob("[!.]*"))


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_main(process: "subprocess.Popen[bytes]") -> None:
    process.kill()


def kill_worker(process: "subprocess.Popen[bytes]") -> None:
    """One of the forks of the server, which is a child of the run; there are none while the run is being prepared."""
    if workers := [worker for child in children(process.pid) for worker in children(child)]:
        kill_if_alive(workers[-1])


def children(process: int) -> list[int]:
    listing = subprocess.run(["pgrep", "-P", str(process)], check=False, capture_output=True, text=True).stdout
    return [int(child) for child in listing.split()]


def kill_if_alive(process: int) -> None:
    # Listed a moment ago, it may have come to its own end since.
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def kill_actor(_: "subprocess.Popen[bytes]") -> None:
    """One of the cluster's processes that has an actor of ours; there are none while the run is being prepared."""
    listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    below = {os.getpid()}
    for _ in rows:  # as deep as processes can be nested
        below |= {int(pid) for pid, parent, *_ in rows if int(parent) in below}
    if actors := [int(pid) for pid, _, *words in rows if int(pid) in below and "".join(words).startswith("ray::_W")]:
        kill_if_alive(actors[-1])


def disturbed(campaign: Campaign, kinds: list[Callable[..., None]], kills: int, out: str, *options: str) -> None:
    """Kill runs into `out` so many times; what was recorded by then is what it is without a disturbance."""
    process = campaign.start(out, *options)
    # A trial whose worker dies twice at it has failed, as it should: between deaths of workers something must be done.
    least = 1 if len(kinds) == 1 else 0
    for number in range(kills):
        campaign.wait_for_a_moment(process, out, least)
        if process.poll() is not None:  # the run got to its end
            assert campaign.records(out).keys() == campaign.whole.keys()
            shutil.rmtree(campaign.folder / out)
            process = campaign.start(out, *options)
            campaign.wait_for_a_moment(process, out, least)
        kind = kinds[number % len(kinds)]
        kind(process)
        if kind in (kill_group, kill_main):
            process.wait()
            process = campaign.start(out, *options)
        for name, record in campaign.records(out).items():
            assert record == campaign.whole[name]
        print(f"kill {number + 1} of {kills}: {kind.__name__}, {len(campaign.names(out))} records", flush=True)
    process.wait()


def same_in_the_end(campaign: Campaign, out: str, *options: str) -> None:
    assert campaign.start(out, *options).wait() == 0
    assert campaign.records(out) == campaign.whole
    pd.testing.assert_frame_equal(campaign.board(out), campaign.board("whole"))
    images = [(campaign.folder / name / "leaderboard.images.csv").read_bytes() for name in ("whole", out)]
    assert images[0] == images[1]


@pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX")
def test_killed_runs_lose_double_and_change_nothing(campaign: Campaign) -> None:
    assert len(campaign.whole) == TRIALS
    # One death alone is that of a worker: a killed run is in tests/benchmark/runs already.
    disturbed(campaign, [kill_worker, kill_group, kill_main], KILLS, "cut")
    same_in_the_end(campaign, "cut")


@pytest.fixture
def two_machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A Ray cluster of two nodes with one processor each."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.skipif(os.name == "nt", reason="Ray's clusters on one machine are POSIX")
def test_dead_actors_and_a_dead_machine_of_ray_lose_double_and_change_nothing(
    campaign: Campaign, two_machines: Cluster
) -> None:
    ray = ("--executor", "ray", "--cluster", f"address={two_machines.address}")
    # One dead actor is in tests/benchmark/executors: in the short campaign the machine alone dies.
    if RAY_KILLS:
        disturbed(campaign, [kill_actor], RAY_KILLS, "ray", *ray)
        shutil.rmtree(campaign.folder / "ray")
    process = campaign.start("ray", *ray)
    campaign.wait_for_a_moment(process, "ray", 1)
    assert process.poll() is None
    two_machines.remove_node(next(iter(two_machines.worker_nodes)), allow_graceful=False)
    assert process.wait() == 0
    same_in_the_end(campaign, "ray", *ray)
