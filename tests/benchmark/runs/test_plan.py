"""From a suite to trials: which there are, in which order, which cannot exist, and what each costs."""

import pytest
from gradinv.attacks.registry import PRESETS
from gradinv.benchmark.datasets import DataError
from gradinv.benchmark.runs.executors import jobs_of
from gradinv.benchmark.runs.plan import Planner, granted_numbers_per_pixel, hash_of
from gradinv.benchmark.runs.preflight import estimated_seconds
from gradinv.benchmark.runs.suite import SuiteError, load_suite, select
from gradinv.metrics.registry import Entry, UnknownNameError, load_plugin
from safetensors.torch import load_file
from torch import nn

LENET = {"model": "lenet_dlg", "state": "untrained"}
RESNET = {"model": "test_resnet", "state": "untrained"}


def cells(plan):
    """The keys of the plan's cells in their order."""
    return list(dict.fromkeys(trial.cell.key for trial in plan.trials))


def test_every_attack_has_its_controls_and_the_others_come_once(make_plan):
    plan = make_plan(attacks=["dlg", "idlg"], controls=["other_gradient", "mean_image"], batches=2)
    assert cells(plan) == ["dlg", "other_gradient of dlg", "idlg", "other_gradient of idlg", "mean_image"]
    assert [trial.spec.repetition for trial in plan.trials] == [0, 1] * 5
    assert [trial.order for trial in plan.trials] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_blocks_that_overlap_share_their_trials(make_plan):
    grids = [{"attacks": ["dlg"]}, {"attacks": ["idlg", "dlg"]}, {"attacks": ["dlg"], "budget": 6}]
    plan = make_plan(grids=grids, controls=["same_class"])
    assert len(plan.trials) == len({trial.id for trial in plan.trials}) == 5
    assert [trial.cell.budget for trial in plan.trials] == ["5", "5", "5", "6", "6"]


@pytest.mark.parametrize("spelling", ["dlg[lr=1,restarts=2]", "dlg[ restarts=2, lr=1.0 ]", "dlg[lr=1e0,restarts=2.0]"])
def test_spellings_of_one_key_are_one_trial(make_plan, spelling):
    assert make_plan(attacks=[spelling]).trials[0].id == make_plan(attacks=["dlg[lr=1.0,restarts=2]"]).trials[0].id


def test_a_trial_does_not_depend_on_how_the_suite_is_called_or_cut(make_plan):
    plain = make_plan(batches=2)
    other = make_plan(
        name="other", description="Of another name.", attacks=["idlg", "dlg"], batch_sizes=[1, 2], batches=3
    )
    assert {trial.id for trial in plain.trials} < {trial.id for trial in other.trials}


def test_a_preset_is_known_by_its_numbers(make_plan, monkeypatch):
    ids = set()
    for lr in (0.5, 0.25):
        monkeypatch.setitem(PRESETS._entries, "dlg.slow", Entry("dlg.slow", {"lr": lr}))
        ids.add(make_plan(attacks=["dlg.slow"]).trials[0].id)
    assert len(ids) == 2


def test_impossible_cells_have_a_reason(make_plan):
    plan = make_plan(attacks=["dlg", "inverting_gradients"], controls=["prior_only", "mean_image"])
    reasons = {trial.cell.key: trial.skip_reason for trial in plan.trials}
    assert "no prior" in reasons.pop("prior_only of dlg")
    assert set(reasons.values()) == {None}


def test_what_a_trial_may_spend(make_plan):
    assert [trial.evaluations for trial in make_plan(controls=["other_gradient", "same_class"]).trials] == [5, 5, 0]
    paper = make_plan(attacks=["dlg[iterations=3]"], budget="paper").trials[0]
    assert (paper.evaluations, paper.spec.budget, paper.cell.budget, paper.cell.tuning) == (60, None, "paper", "paper")


def test_an_attack_without_a_budget_of_its_own_needs_one(make_plan, tmp_path):
    path = tmp_path / "free.py"
    path.write_text(
        "from gradinv.attacks.attack import Attack\nfrom gradinv.attacks.registry import register_attack\n\n"
        "@register_attack('free', paper=None)\nclass Free(Attack):\n    '''Nothing yet.'''\n"
    )
    load_plugin(path)
    assert make_plan(attacks=["free"]).trials[0].evaluations == 5
    with pytest.raises(SuiteError, match=r"attack free: .*budget"):
        make_plan(attacks=["free"], budget="paper")


def test_a_batch_that_the_classes_cannot_fill_is_said_at_once(make_plan):
    with pytest.raises(DataError, match="a batch of 64 with max_equal_labels=1"):
        make_plan(batch_sizes=[1, 64])
    assert make_plan(batch_sizes=[16], threat_model={"max_equal_labels": 4}).trials


def test_unknown_models_and_data_sets(make_plan):
    with pytest.raises(UnknownNameError, match=r"unknown model 'lenet_dgl'; did you mean.*lenet_dlg"):
        make_plan(victims=[{**LENET, "model": "lenet_dgl"}])
    with pytest.raises(UnknownNameError, match="unknown data set 'photo'; did you mean photos"):
        make_plan(dataset="photo")


def test_granted_numbers_count_exact_statistics_only(make_plan):
    settings = {"victims": [RESNET], "attacks": ["inverting_gradients"], "batch_sizes": [2]}
    exact = make_plan(threat_model={"bn_statistics": "exact"}, **settings)
    running = make_plan(threat_model={"bn_statistics": "running"}, **settings)
    victim = next(iter(exact.victims.values()))
    numbers = sum(2 * layer.num_features for layer in victim.module.modules() if isinstance(layer, nn.BatchNorm2d))
    assert numbers > 0
    assert exact.trials[0].cell.granted_numbers_per_pixel == pytest.approx(numbers / (2 * 3 * 32 * 32))
    assert granted_numbers_per_pixel(running.trials[0].spec, victim) == 0


def test_without_training_a_stand_in_of_the_same_architecture_is_planned(make_plan):
    trained = {"model": "test_resnet", "state": "trained"}
    grids = [{"image_size": 32}, {"image_size": 64}]
    plan = make_plan(may_train=False, victims=[trained], grids=grids)
    assert plan.untrained_yet == ("test_resnet, seed 0, on photos 32 px", "test_resnet, seed 0, on photos 64 px")
    assert {trial.cell.victim_state for trial in plan.trials} == {"trained"}
    assert len(plan.victims) == 2
    assert all(seconds > 0 for seconds in estimated_seconds(plan, plan.trials, "cpu").values())


def test_estimates_grow_with_the_budget_and_spare_what_is_skipped(make_plan):
    grids = [{"budget": 10}, {"budget": 1000}]
    plan = make_plan(grids=grids, controls=["prior_only"])
    seconds = estimated_seconds(plan, plan.trials, "cpu")
    dear, cheap = (sum(seconds[t.id] for t in plan.trials if t.spec.budget == budget) for budget in (1000, 10))
    assert dear == pytest.approx(100 * cheap)
    assert {seconds[trial.id] for trial in plan.trials if trial.skip_reason} == {0.0}


def test_victims_are_saved_once(make_plan, tmp_path):
    plan = make_plan(victims=[LENET, RESNET])
    plan.save_victims(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "victims").iterdir()}
    plan.save_victims(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "victims").iterdir()} == files
    assert {path.stem for path in files} == set(plan.victims)
    for path in files:
        assert set(load_file(path)) == set(plan.victims[path.stem].module.state_dict())


def test_victims_are_loaded_once(write_suite):
    planner = Planner(device="cpu", download=False, may_train=True, progress=False)
    planner.plan(load_suite(write_suite(grids=[{"budget": 1}, {"budget": 2}], batch_sizes=[1, 2])), "")
    assert len(planner.victims) == len(planner.datasets) == 1


def test_the_hash_of_a_suite_is_of_what_it_says(write_suite):
    plain = load_suite(write_suite())
    assert (
        hash_of(plain) == hash_of(load_suite(write_suite("again.yaml"))) != hash_of(load_suite(write_suite(budget=6)))
    )
    assert hash_of(select(plain, limit=1)) != hash_of(select(load_suite(write_suite(batches=2)), limit=2))


def test_victims_of_equal_weights_keep_their_own_state(make_plan, tmp_path):
    plan = make_plan()
    plan.save_victims(tmp_path)
    weights = str(next((tmp_path / "victims").iterdir()))
    both = make_plan(victims=[LENET, {"model": "lenet_dlg", "state": "trained", "weights": weights}])
    assert len(both.victims) == 1
    assert [trial.cell.victim_state for trial in both.trials] == ["untrained", "trained"]
    assert [job.trials[0].cell.victim_state for job in jobs_of(both, both.trials, tmp_path)] == ["untrained", "trained"]


def test_a_part_of_a_suite_keeps_the_places_of_the_whole(write_suite):
    whole = load_suite(write_suite(attacks=["dlg", "idlg"], batch_sizes=[1, 2]))
    part = select(whole, attacks=["idlg*"], batch_sizes=[2])
    plans = [planner().plan(suite, "", whole) for suite in (whole, part)]
    places = {trial.cell: trial.order for trial in plans[0].trials}
    assert plans[1].trials
    assert all(places[trial.cell] == trial.order for trial in plans[1].trials)


def planner():
    return Planner(device="cpu", download=False, may_train=False, progress=False)
