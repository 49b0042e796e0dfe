"""A killed run: nothing that was finished is lost or made again, and the end is that of an uninterrupted run."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from gradinv.benchmark import cli
from gradinv.benchmark.executors.store import Store
from gradinv.metrics.records.layout import RunDirectory

SETTINGS = {
    "attacks": ["dlg", "idlg", "inverting_gradients"],
    "controls": "all",
    "batches": 1,
    "budget": 40,
    "metrics": ["psnr", "ssim"],
}
TRIALS = 3 * 4 + 2
MEASURED = ["seconds_mean", "peak_memory_mb", "date"]
LONGEST_WAIT = 300


def wait_until(condition):
    """Poll until `condition` holds; fails the test after five minutes."""
    end = time.monotonic() + LONGEST_WAIT
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def living_members(session):
    """Processes of that session that are not zombies."""
    living = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:  # it ended meanwhile
            continue
        if int(its_session) == session and state != "Z":
            living.append(int(stat.parent.name))
    return living


def finished(directory):
    """How many trials have a record."""
    return len(list(RunDirectory(directory).trials.glob("[!.]*/record.json")))


def start_and_kill(arguments, directory):
    """Start the command and kill it once five trials have records: (exit status, number of workers that it had)."""
    command = shutil.which("gradinv", path=str(Path(sys.executable).parent))
    process = subprocess.Popen(
        [command, *arguments, "--out", directory, "--jobs", "2"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory.parent,
    )  # fmt: skip
    wait_until(lambda: finished(directory) >= 5 or process.poll() is not None)
    workers = len(living_members(process.pid)) - 1
    process.kill()
    process.wait()
    wait_until(lambda: not living_members(process.pid))
    return process.returncode, workers


def run_here(patch, arguments, directory):
    """Run the command in this process; its exit status."""
    patch.setattr("sys.argv", ["gradinv", *map(str, arguments), "--out", str(directory), "--jobs", "1"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.fixture(scope="module")
def story(tmp_path_factory, tools):
    """A run killed with SIGKILL in the middle and run again, and an uninterrupted one beside it."""
    folder = tmp_path_factory.mktemp("resume")
    suite = tools.make_suite(folder / "suite.yaml", **SETTINGS)
    killed, uninterrupted = folder / "killed", folder / "uninterrupted"
    arguments = ["run", suite, "--no-figures", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADINV_CACHE", str(folder / "cache"))
        status, workers = start_and_kill(arguments, killed)
        kept = tools.files_of(killed)
        later = [run_here(patch, arguments, directory) for directory in (killed, uninterrupted)]
    return SimpleNamespace(
        killed=killed, uninterrupted=uninterrupted, kept=kept, status=status, workers=workers, later=later
    )


def test_the_run_was_killed_in_the_middle(story):
    assert 5 <= len({name.split("/")[1] for name in story.kept}) < TRIALS
    assert story.status == -signal.SIGKILL


def test_workers_end_with_their_parent(story):
    """There were some; `start_and_kill` waits until none is left."""
    assert story.workers >= 2


def test_finished_trials_are_not_touched(story, tools):
    """Content and time of every file."""
    now = tools.files_of(story.killed)
    assert {name: now[name] for name in story.kept} == story.kept


def test_no_trial_is_lost(story):
    assert story.later == [0, 0]
    assert finished(story.killed) == finished(story.uninterrupted) == TRIALS
    killed, uninterrupted = RunDirectory(story.killed), RunDirectory(story.uninterrupted)
    ids = {path.name for path in killed.trials.glob("[!.]*")}
    assert ids == {path.name for path in uninterrupted.trials.iterdir()}
    assert all(Store(killed).finished(trial) for trial in ids)


def test_the_board_is_that_of_an_uninterrupted_run(story):
    """But for time, memory and date."""
    runs = RunDirectory(story.killed), RunDirectory(story.uninterrupted)
    boards = [pd.read_csv(run.board, dtype=str).drop(columns=MEASURED) for run in runs]
    pd.testing.assert_frame_equal(*boards)
    assert len(boards[0]) == TRIALS


def test_the_image_table_is_equal_to_the_byte(story):
    first, second = ((out / "leaderboard.images.csv").read_bytes() for out in (story.killed, story.uninterrupted))
    assert first == second
