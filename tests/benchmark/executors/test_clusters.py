"""Ray and Slurm: the same records as on this machine alone, whatever happens to workers and array elements."""

import os
import signal
import subprocess
import time

import pytest

from gradinv.benchmark.executors.jobs import jobs_of, run_here
from gradinv.benchmark.executors.on_ray import RayActors, ray_cluster
from gradinv.benchmark.executors.on_slurm import Share, _submitted as submitted, run_on_slurm
from gradinv.benchmark.executors.store import Store
from gradinv.benchmark.executors.workers import run_in_workers
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.registry import RequestError, load_plugin

MEASURED = {"seconds", "peak_memory_mb", "date"}
DIES = "troubled[accident=die]"


@pytest.fixture
def jobs_into(make_ready_plan, tmp_path, tools):
    """Makes the jobs of a suite with these settings, into the run directory of the plan."""
    load_plugin(tools.make_plugin(tmp_path / "troubled.py", "troubled"))

    def make(run: RunDirectory, **settings):
        plan = make_ready_plan(**{"attacks": ["dlg", "idlg"], "batches": 2, "budget": 4, **settings})
        return jobs_of(plan.trials, run)

    return make


def steady(records):
    """Records by id, without what is another each time."""
    return {record.id: record.model_dump(exclude=MEASURED) for record in records}


def pictures(run: RunDirectory, records):
    return {record.id: run.tensors(record.id).read_bytes() for record in records}


def wait_for(path):
    """Until the file is there; it is then removed."""
    while not path.exists():
        time.sleep(0.02)
    path.unlink()


def test_ray_writes_the_records_of_this_process_and_outlives_a_dead_actor(jobs_into, run_directory, tmp_path):
    jobs = jobs_into(run_directory, attacks=["dlg", DIES, "idlg"], batches=1)
    with ray_cluster(None, 2) as cluster:

        def start(workers):
            return RayActors(cluster, workers, [tmp_path / "troubled.py"])

        records = list(run_in_workers(jobs, 2, start))
    died = [record for record in records if record.cell.key == DIES]
    done = [record for record in records if record.cell.key != DIES]
    assert {(record.state, record.reason) for record in died} == {("failed", "the worker process died")}
    assert (len(died), len(done)) == (1, 2)
    first = pictures(run_directory, done)
    alone = list(run_here([job for job in jobs if job.trials[0].cell.key != DIES]))
    assert steady(done) == steady(alone)
    assert first == pictures(run_directory, alone)


def test_a_slurm_array_writes_the_records_of_this_process(jobs_into, run_directory, tmp_path):
    jobs = jobs_into(run_directory)
    records = list(run_on_slurm(jobs, 2, [tmp_path / "troubled.py"], run_directory, {"cluster": "local"}))
    first = pictures(run_directory, records)
    alone = list(run_here(jobs))
    assert steady(records) == steady(alone)
    assert first == pictures(run_directory, alone)


def test_a_preempted_element_is_queued_again_and_goes_on(jobs_into, run_directory, tmp_path):
    jobs = jobs_into(run_directory, attacks=["dlg", "troubled[accident=patient]", "idlg"], batches=1)
    (element,) = submitted([Share(jobs, [tmp_path / "troubled.py"])], run_directory, {"cluster": "local"})
    wait_for(tmp_path / "waiting")
    # As a cluster does; here an element's number is the process that started it.
    task = subprocess.run(["pgrep", "-P", element.job_id], check=True, capture_output=True, text=True).stdout
    os.kill(int(task), signal.SIGUSR2)
    wait_for(tmp_path / "waiting")  # once more: it was queued again
    (tmp_path / "enough").touch()
    element.wait()
    records = Store(run_directory).read_all(trial.id for job in jobs for trial in job.trials)
    assert [record.state for record in records] == ["done"] * 3
    assert "preempted" in element.stderr()
    assert steady(records) == steady(run_here(jobs))


def test_what_slurm_does_not_take_is_a_line(jobs_into, run_directory):
    jobs = jobs_into(run_directory)
    with pytest.raises(RequestError, match=r"--executor slurm: .*nonsense"):
        next(run_on_slurm(jobs, 1, [], run_directory, {"cluster": "local", "nonsense": 3}))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--cluster", "address=x"], "--cluster address: no setting of the executor local; add --executor ray"),
        (
            ["--executor", "ray", "--cluster", "port=1"],
            "--cluster port: no setting of the executor ray; it takes address",
        ),
        (["--executor", "ray", "--cluster", "gpus"], "--cluster gpus: write KEY=VALUE"),
    ],
)
def test_what_an_executor_does_not_take_is_a_line(gradinv, write_suite, options, text):
    result = gradinv("run", write_suite(), *options)
    assert result.status == 2
    assert text in result.err
