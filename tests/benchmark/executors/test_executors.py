"""Where trials run: the same records from this process and from workers, whatever happens to some of them."""

import math
import os
import signal
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from typing import ClassVar

import pytest

from gradinv.benchmark import cli
from gradinv.benchmark.executors import jobs as jobs_module, workers
from gradinv.benchmark.executors.jobs import execute, in_order, jobs_of, run_here
from gradinv.benchmark.executors.worker_processes import WorkerProcesses
from gradinv.benchmark.experiment import received_update
from gradinv.benchmark.runs.prepare import prepare_plan
from gradinv.benchmark.stopping import Stopped, watch_signals
from gradinv.metrics.records.identity import row_identity
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.registry import load_plugin

MEASURED = {"seconds", "peak_memory_mb", "date"}
ACCIDENTS = ["troubled[accident=raise]", "troubled[accident=oom]", "troubled[accident=die]"]
SETTINGS = {"attacks": [ACCIDENTS[2], "dlg", ACCIDENTS[0], ACCIDENTS[1]], "batches": 2, "metrics": ["psnr", "ssim"]}


@pytest.fixture(scope="module")
def worker_run(tmp_path_factory, tools):
    """A run in two worker processes, one trial of which kills its worker: directory, exit status, what was said."""
    folder = tmp_path_factory.mktemp("workers")
    plugin = tools.make_plugin(folder / "troubled.py", "troubled")
    suite = tools.make_suite(folder / "suite.yaml", **SETTINGS)
    arguments = ["run", suite, "--plugin", plugin, "--out", folder / "run", "--jobs", 2, "--no-figures", "--limit", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADINV_CACHE", str(folder / "cache"))
        patch.setattr("sys.argv", ["gradinv", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return folder / "run", ended.value.code


@pytest.fixture
def job(make_ready_plan, run_directory, tmp_path, tools):
    """Makes the job of a suite's first trial."""

    def make(**settings):
        load_plugin(tools.make_plugin(tmp_path / "troubled.py", "troubled"))
        return jobs_of(make_ready_plan(**settings).trials[:1], run_directory)[0]

    return make


def test_a_trial_that_kills_its_worker_fails_alone(worker_run, tools):
    directory, status = worker_run
    records = tools.records_by_label(directory)
    dead = records[ACCIDENTS[2], 0]
    assert (dead.state, dead.reason) == ("failed", "the worker process died")
    assert records["dlg", 0].state == "done"
    assert len(records) == 4
    assert status == 1


def test_what_a_trial_raises_in_a_worker_is_its_state_and_reason(worker_run, tools):
    records = tools.records_by_label(worker_run[0])
    raised, out_of_memory = (records[key, 0] for key in ACCIDENTS[:2])
    assert (raised.state, raised.reason) == ("failed", "RuntimeError: no luck today")
    assert (out_of_memory.state, out_of_memory.reason) == ("oom", "OutOfMemoryError: out of memory")
    assert "Traceback" in raised.notes[0]


def test_workers_and_this_process_write_the_same_records(worker_run, tools, write_suite, run_suite, tmp_path):
    """But for time, memory and date; and pictures equal to the byte."""
    run_suite(write_suite(**{**SETTINGS, "attacks": ["dlg"], "batches": 1}))
    directories = RunDirectory(tmp_path / "run"), RunDirectory(worker_run[0])
    first, second = (tools.records_by_label(run.path)["dlg", 0] for run in directories)
    excluded = MEASURED | {"order", "suite", "spec"}
    assert first.model_dump(exclude=excluded) == second.model_dump(exclude=excluded)
    pictures = [run.tensors(first.id).read_bytes() for run in directories]
    assert pictures[0] == pictures[1]


def test_what_failed_is_run_again_and_what_is_finished_is_not(run_suite, write_suite, tools, tmp_path):
    plugin = tools.make_plugin(tmp_path / "moody.py", "moody")
    suite = write_suite(attacks=["dlg", "moody[accident=raise]", "idlg"], batches=2)
    first = run_suite(suite, "--plugin", plugin)
    before = tools.files_of(tmp_path / "run")
    second = run_suite(suite, "--plugin", plugin)
    after = tools.files_of(tmp_path / "run")
    assert first.status == second.status == 1
    assert "4 done before, 2 to run" in second.out
    again = {path.split("/")[1] for path in after if after[path] != before[path]}
    failed = {record.id for record in tools.records_by_label(tmp_path / "run").values() if record.state == "failed"}
    assert again == failed
    assert second.out.count("no luck today") >= 2


@pytest.mark.parametrize(
    ("accident", "state", "reason"),
    [
        ("raise", "failed", "RuntimeError: no luck today"),
        ("oom", "oom", "OutOfMemoryError: out of memory"),
        ("leave", "failed", "SystemExit: 3"),
        ("interrupt", "failed", "KeyboardInterrupt"),
        ("generator", "failed", "GeneratorExit"),
        ("memory", "oom", "MemoryError"),
        ("allocate", "oom", "RuntimeError: "),
        ("escape", "failed", r"RuntimeError: \x1b[31mred\x1b[0m and long"),
    ],
)
def test_no_trial_stops_the_others_of_this_process(job, accident, state, reason):
    watch_signals()  # as the command does: a KeyboardInterrupt is then the attack's own
    (record,) = execute(job(attacks=[f"troubled[accident={accident}]"]))
    assert record.state == state
    assert record.reason == reason or (accident == "allocate" and record.reason.startswith(reason))
    assert not record.is_scored


def test_ctrl_c_is_no_failure_of_the_trial_that_it_met(job):
    with pytest.raises(KeyboardInterrupt):
        execute(job(attacks=["troubled[accident=interrupt]"]))


def test_a_signal_stops_the_run_and_not_the_trial_alone(job, monkeypatch):
    watch_signals()
    monkeypatch.setattr(jobs_module, "run_together", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        execute(job())


def test_a_trial_that_takes_too_long_has_failed_and_the_next_one_is_run(job):
    late = replace(job(attacks=["troubled[accident=endless]"]), timeout=0.5)
    (record,) = execute(late)
    assert (record.state, record.reason) == ("failed", "timeout: not ended after 0.5 s")
    assert execute(job(attacks=["dlg"]))[0].state == "done"


def test_a_worker_whose_trial_hears_nothing_is_ended_and_replaced(job, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "STARTING", 0.0)
    deaf = replace(job(attacks=["troubled[accident=deaf]"]), timeout=0.1)
    other = job(attacks=["dlg"])
    start = partial(WorkerProcesses, plugins=[tmp_path / "troubled.py"])
    records = list(workers.run_in_workers([deaf, other], 2, start))
    assert [(record.cell.key, record.state) for record in records] == [
        ("troubled[accident=deaf]", "failed"),
        ("dlg", "done"),
    ]
    assert records[0].reason == "timeout: not ended after 0.1 s"


class DeathError(Exception):
    """What a worker's death raises."""


class Mortal:
    """Workers of this process which die of the trials they must not meet, and after so many jobs."""

    death = DeathError
    deadly: ClassVar[set[str]] = set()
    lifetime = math.inf
    started: ClassVar[list[int]] = []

    def __init__(self, count):
        self.started.append(count)
        self.jobs = 0

    def submit(self, job):
        future, self.jobs = Future(), self.jobs + 1
        if self.jobs > self.lifetime or any(trial.id in self.deadly for trial in job.trials):
            future.set_exception(DeathError())
        else:
            future.set_result(execute(job))
        return future

    def stop(self):
        """Nothing is under way."""


def test_trials_under_way_at_a_death_share_a_worker_and_the_one_to_blame_fails(
    make_ready_plan, run_directory, monkeypatch
):
    jobs = jobs_of(make_ready_plan(attacks=["dlg"], batches=4, controls=["mean_image"]).trials, run_directory)
    ids = [trial.id for job in jobs for trial in job.trials]
    monkeypatch.setattr(Mortal, "deadly", {jobs[0].trials[2].id})
    monkeypatch.setattr(Mortal, "started", [])
    records = list(workers.run_in_workers(jobs, 1, Mortal))
    assert sorted(record.id for record in records) == sorted(ids)
    assert {record.id for record in records if record.state == "failed"} == Mortal.deadly
    # The first worker, one for two good trials and the deadly one, one in which it is the first, one for what is left,
    # and one for the other job.
    assert Mortal.started == [1] * 5


def test_workers_have_the_environment_of_their_run_and_not_of_the_first(monkeypatch):
    for place in ("first", "second"):
        monkeypatch.setenv("GRADINV_DATA", place)
        processes = WorkerProcesses(1, plugins=[])
        assert processes._executor.submit(os.getenv, "GRADINV_DATA").result() == place
        # A server that has asked for CUDA devices, though it has none, leaves forks that can never use one.
        assert not processes._executor.submit(eval, "__import__('torch').cuda._is_in_bad_fork()").result()
        processes.stop()


def test_a_trial_is_not_blamed_for_what_others_left_in_its_worker(make_ready_plan, run_directory, monkeypatch):
    (job,) = jobs_of(make_ready_plan(attacks=["dlg"], batches=4, controls=[]).trials, run_directory)
    monkeypatch.setattr(Mortal, "lifetime", 2)
    alone = WorkersOnce(Mortal)
    records = list(workers.run_in_workers([job], 1, alone))
    assert [record.state for record in records] == ["done"] * 4


class WorkersOnce:
    """Starts workers of which the first die at their first job."""

    def __init__(self, kind):
        self.kind, self.calls = kind, 0

    def __call__(self, count):
        made, self.calls = self.kind(count), self.calls + 1
        made.jobs = math.inf if self.calls == 1 else 0
        return made


def test_an_impossible_trial_is_skipped(job):
    (record,) = execute(job(attacks=["inverting_gradients"], batch_sizes=[1]))
    assert record.state == "done"
    (skipped,) = execute(job(attacks=["gradinversion"], threat_model={"bn_statistics": "none"}))
    assert skipped.state == "skipped"
    assert skipped.reason


def test_an_outcome_that_makes_no_record_is_a_failure(job, monkeypatch):
    outcome = jobs_module.Outcome.model_construct(state="done", evaluations="many")
    monkeypatch.setattr(jobs_module, "run_together", lambda *_: [outcome])
    (record,) = execute(job())
    assert record.state == "failed"
    assert "evaluations" in record.reason


def test_a_full_disk_stops_the_run(job, monkeypatch):
    def full(self, record, *pictures):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs_module.Store, "write", full)
    with pytest.raises(OSError, match="No space left"):
        execute(job())


def test_a_plan_that_was_not_prepared_is_no_run(make_plan, run_directory):
    with pytest.raises(ValueError, match="weights of lenet_dlg are not known"):
        jobs_of(make_plan(attacks=["gradinversion"]).trials, run_directory)


def test_records_come_pack_by_pack(make_ready_plan, run_directory):
    plan = make_ready_plan(batches=3, attacks=["dlg", "idlg"])
    records = run_here(jobs_of(plan.trials, run_directory))
    assert next(records).repetition == 0
    assert len(list(run_directory.trials.iterdir())) == 3
    records.close()


def test_trials_of_a_pack_differ_in_batch_defense_and_control_alone(make_ready_plan, run_directory):
    """A victim of its size takes eight candidates at once; blind attacks and other attacks have packs of their own."""
    plan = make_ready_plan(
        attacks=["inverting_gradients", "idlg"],
        controls=["other_gradient", "prior_only", "mean_image"],
        defenses=["none", "gaussian_noise[sigma=0.1]"],
        batches=3,
    )
    packs = [
        {(trial.spec.attack, trial.spec.control) for trial in job.trials}
        for job in jobs_of([trial for trial in plan.trials if not trial.skip_reason], run_directory)
    ]
    seeing = {("inverting_gradients", ""), ("inverting_gradients", "other_gradient")}
    assert seeing in packs
    assert {("inverting_gradients", "prior_only")} in packs
    assert all(len(pack) == 1 or len({attack for attack, _ in pack}) == 1 for pack in packs)
    sizes = [len(job.trials) for job in jobs_of(plan.trials, run_directory)]
    assert max(sizes) == 8
    assert sum(sizes) == len(plan.trials)


def test_a_pack_leaves_every_trial_the_bits_that_it_has_alone(make_plan, tmp_path, tools):
    """So a resumed run, or one with other limits and filters, ends where an uninterrupted one does."""
    plan = make_plan(attacks=["inverting_gradients", "idlg"], controls=["other_gradient"], batches=3, budget=60)
    pictures = []
    for name, singly in (("together", False), ("alone", True)):
        run = RunDirectory(tmp_path / name)
        trials = prepare_plan(plan, run, progress=False).trials
        for job in jobs_of(trials, run):
            for part in job.singly() if singly else [job]:
                execute(part)
        pictures.append({trial.id: run.tensors(trial.id).read_bytes() for trial in trials})
    assert len(pictures[0]) == len(plan.trials)
    assert pictures[0] == pictures[1]


def test_a_trial_that_fails_in_a_pack_fails_alone(make_ready_plan, run_directory, monkeypatch):
    plan = make_ready_plan(attacks=["idlg"], batches=3)
    original = received_update.self_check
    seen = []

    def failing(update, victim):
        seen.append(update)
        if update.labels.tolist() == seen[1].labels.tolist() if len(seen) > 1 else False:
            raise RuntimeError("no luck today")
        original(update, victim)

    monkeypatch.setattr(received_update, "self_check", failing)
    (job,) = jobs_of(plan.trials, run_directory)
    assert [record.state for record in execute(job)] == ["done", "failed", "done"]


def test_a_record_says_where_it_comes_from(job):
    made = job()
    (record,) = execute(made)
    assert record.id == made.trials[0].id
    hashes = asdict(row_identity(record.spec))
    assert (record.suite, record.order, record.repetition) == ("tiny", 0, 0)
    assert record.cell == made.trials[0].cell.model_copy(update=hashes)
    assert record.spec["suite_hash"] == "hash"
    assert record.spec["attack"] == "dlg"
    assert record.device.startswith("cpu")
    assert {"python", "gradinv", "torch", "timm"} <= set(record.versions)
    assert (record.threads, record.engine) == (1, "eager, 8 together")


def test_a_data_set_that_has_changed_since_the_plan_ends_its_trials(job, monkeypatch):
    planned = job(attacks=["dlg"])
    changed = replace(planned, trials=(planned.trials[0].changed(data_hash="0" * 64),))
    (record,) = execute(changed)
    assert (record.state, record.reason) == (
        "failed",
        "DataError: data set photos has changed since the run was planned; run it again",
    )


def test_what_takes_longest_is_run_first_and_what_nobody_knows_before_it(make_ready_plan, run_directory):
    plan = make_ready_plan(attacks=["dlg", "idlg", "inverting_gradients"], batches=1)
    jobs = jobs_of(plan.trials, run_directory)
    guess = {"dlg": 1.0, "idlg": 5.0, "inverting_gradients": math.nan}
    seconds = {trial.id: guess[trial.cell.key] for trial in plan.trials}
    order = [job.trials[0].cell.key for job in in_order(jobs, seconds, 2, breadth_first=False)]
    assert order == ["inverting_gradients", "idlg", "dlg"]
    assert in_order(jobs, seconds, 1, breadth_first=False) == jobs


def test_workers_keep_to_a_victim(make_ready_plan, run_directory):
    victims = [{"model": "lenet_dlg", "state": "untrained", "seed": seed} for seed in range(2)]
    plan = make_ready_plan(victims=victims, attacks=["dlg", "idlg"], batches=1)
    jobs = jobs_of(plan.trials, run_directory)
    seconds = {trial.id: float(place) for place, trial in enumerate(plan.trials)}
    hashes = [job.trials[0].spec.weights_hash for job in in_order(jobs, seconds, 2, breadth_first=False)]
    assert hashes == [jobs[-1].trials[0].spec.weights_hash] * 2 + [jobs[0].trials[0].spec.weights_hash] * 2


def test_breadth_first_gives_every_cell_its_first_batch(make_ready_plan, run_directory):
    plan = make_ready_plan(attacks=["dlg", "idlg"], batches=3)
    jobs = jobs_of(plan.trials, run_directory)
    seconds = {trial.id: 1.0 for trial in plan.trials}
    repetitions = [job.trials[0].spec.repetition for job in in_order(jobs, seconds, 2, breadth_first=True)]
    assert repetitions == sorted(repetitions)
    assert repetitions[:2] == [0, 0]
