"""The victims of a plan: trained before any trial, kept once under their hash, or named where they are not there."""

import pytest
from safetensors.torch import load_file

from gradinv.benchmark.executors.jobs import jobs_of
from gradinv.benchmark.runs import prepare as preparing
from gradinv.benchmark.runs.prepare import prepare_plan, without_training
from gradinv.benchmark.victims.loading import weights_hash
from gradinv.benchmark.victims.networks import VictimError

LENET = {"model": "lenet_dlg", "state": "untrained"}
RESNET = {"model": "test_resnet", "state": "untrained"}
TRAINED = {"model": "test_resnet", "state": "trained", "epochs": 1}


def files(run):
    return {path.stem: path for path in run.victims.iterdir()}


def test_every_trial_gets_an_id_and_nothing_else_changes(make_plan, run_directory):
    plan = make_plan(victims=[LENET, RESNET], controls=["mean_image"], batches=2)
    ready = prepare_plan(plan, run_directory, progress=False)
    assert len({trial.id for trial in ready.trials}) == len(plan.trials)
    assert [trial.changed(weights_hash=None) for trial in ready.trials] == list(plan.trials)
    assert ready.untrained_yet == ()


def test_victims_are_kept_once_under_the_hash_of_their_weights(make_plan, run_directory):
    plan = make_plan(victims=[LENET, RESNET])
    ready = prepare_plan(plan, run_directory, progress=False)
    written = {path: path.stat().st_mtime_ns for path in run_directory.victims.iterdir()}
    again = prepare_plan(plan, run_directory, progress=False)
    assert {path: path.stat().st_mtime_ns for path in run_directory.victims.iterdir()} == written
    assert again.trials == ready.trials
    assert set(files(run_directory)) == {trial.spec.weights_hash for trial in ready.trials}
    for trial in ready.trials:
        network = plan.network_of(trial.spec)
        network.load_state_dict(load_file(run_directory.weights(trial.spec.weights_hash)))
        assert weights_hash(network) == trial.spec.weights_hash


def test_a_victim_is_trained_and_its_trained_weights_are_kept(make_plan, run_directory, tmp_path):
    plan = make_plan(victims=[TRAINED], image_size=16)
    untrained = weights_hash(plan.network_of(plan.trials[0].spec))
    ready = prepare_plan(plan, run_directory, progress=False)
    assert list((tmp_path / "cache" / "victims").glob("*.safetensors"))
    assert set(files(run_directory)) == {ready.trials[0].spec.weights_hash} != {untrained}
    assert without_training(plan).trials == ready.trials, "the cache has it now"


def test_rounds_of_one_training_are_trained_once(make_plan, run_directory, monkeypatch):
    trainings, train = [], preparing.train_victim
    monkeypatch.setattr(preparing, "train_victim", lambda *a, **k: trainings.append(k["rounds"]) or train(*a, **k))
    stages = [{**TRAINED, "round": number} for number in (0, 1)]
    ready = prepare_plan(make_plan(victims=stages), run_directory, progress=False)
    assert trainings == [[0, 1]]
    assert len({trial.spec.weights_hash for trial in ready.trials}) == 2
    assert {trial.cell.victim for trial in ready.trials} == {f"test_resnet[epochs=1,round={n}]" for n in (0, 1)}
    prepare_plan(make_plan(victims=stages), run_directory, progress=False)
    assert trainings == [[0, 1]]


def test_without_training_what_is_not_trained_yet_is_named(make_plan, run_directory, tmp_path):
    plan = without_training(make_plan(victims=[TRAINED, LENET], grids=[{"image_size": 32}, {"image_size": 64}]))
    assert [str(victim) for victim in plan.untrained_yet] == [
        "test_resnet[epochs=1], seed 0, on photos 32 px",
        "test_resnet[epochs=1], seed 0, on photos 64 px",
    ]
    for trial in plan.trials:
        assert (trial.spec.weights_hash is None) == (trial.spec.victim.model == "test_resnet")
    assert not run_directory.victims.exists()
    assert not (tmp_path / "cache" / "victims").exists()


def test_what_must_be_downloaded_is_named_where_that_is_enough(make_plan, monkeypatch):
    monkeypatch.setattr(preparing, "needs_download", lambda spec, dataset: spec.model == "lenet_dlg")
    plan = without_training(make_plan(victims=[LENET, RESNET]), or_download=True)
    assert [victim.spec.model for victim in plan.undownloaded_yet] == ["lenet_dlg"]
    assert plan.untrained_yet == ()
    for trial in plan.trials:
        assert (trial.spec.weights_hash is None) == (trial.spec.victim.model == "lenet_dlg")


def test_a_victim_that_cannot_be_had_stops_before_anything_is_written(make_plan, run_directory):
    plan = make_plan(victims=[LENET, {"model": "test_resnet", "state": "trained", "weights": "nowhere.pth"}])
    for attempt in (lambda: prepare_plan(plan, run_directory), lambda: without_training(plan)):
        with pytest.raises(VictimError, match=r"weight file nowhere\.pth does not exist"):
            attempt()
    assert not run_directory.victims.exists()


def test_an_interrupted_write_leaves_no_weights(make_plan, run_directory, monkeypatch):
    def interrupted(path, tensors, metadata):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_plan(make_plan(), run_directory, progress=False)
    assert not list(run_directory.path.glob("victims/*"))


def test_victims_of_equal_weights_keep_their_own_state(make_plan, make_ready_plan, run_directory):
    make_ready_plan()
    (weights,) = files(run_directory).values()
    grown = [LENET, {"model": "lenet_dlg", "state": "trained", "weights": str(weights)}]
    ready = make_ready_plan(victims=grown)
    assert len(files(run_directory)) == 1
    jobs = jobs_of(ready.trials, run_directory)
    assert [job.trials[0].cell.victim_state for job in jobs] == ["untrained", "trained"]
