"""From a suite to trials: which there are, in which order, which cannot exist, and what each costs; none is trained."""

import pytest
from torch import nn

from gradinv.attacks.registry import PRESETS
from gradinv.benchmark.datasets import DataError
from gradinv.benchmark.estimates.preflight import estimated_seconds
from gradinv.benchmark.runs.plan import PlannedVictim, Planner, hash_of
from gradinv.benchmark.runs.selection import select
from gradinv.benchmark.runs.suite import SuiteError, load_suite
from gradinv.metrics.registry import Entry, UnknownNameError, load_plugin

LENET = {"model": "lenet_dlg", "state": "untrained"}
RESNET = {"model": "test_resnet", "state": "untrained"}


def cells(plan):
    """The keys of the plan's cells in their order."""
    return list(dict.fromkeys(trial.cell.key for trial in plan.trials))


def specifications(plan):
    """The plan's specifications as text; they have no ids, since no weights are known."""
    return {trial.spec.model_dump_json() for trial in plan.trials}


def test_every_attack_has_its_controls_and_the_others_come_once(make_plan):
    plan = make_plan(attacks=["dlg", "idlg"], controls=["other_gradient", "mean_image"], batches=2)
    assert cells(plan) == ["dlg", "other_gradient of dlg", "idlg", "other_gradient of idlg", "mean_image"]
    assert [trial.spec.repetition for trial in plan.trials] == [0, 1] * 5
    assert [trial.order for trial in plan.trials] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("attack", "level", "due"),
    [
        ("gradinversion.fidelity", "exact", ["prior_only", "other_statistics", "no_statistics"]),
        ("gradinversion.fidelity", "running", ["prior_only", "no_statistics"]),
        ("inverting_gradients", "exact", ["prior_only"]),
    ],
)
def test_controls_that_would_be_another_one_make_no_row(make_plan, attack, level, due):
    every = ["prior_only", "other_statistics", "no_statistics"]
    plan = make_plan(attacks=[attack], controls=every, threat_model={"bn_statistics": level})
    assert cells(plan) == [attack, *(f"{control} of {attack}" for control in due)]


def test_blocks_that_overlap_share_their_trials(make_plan):
    grids = [{"attacks": ["dlg"]}, {"attacks": ["idlg", "dlg"]}, {"attacks": ["dlg"], "budget": 6}]
    plan = make_plan(grids=grids, controls=["same_class"])
    assert len(plan.trials) == len(specifications(plan)) == 5
    assert [trial.cell.budget for trial in plan.trials] == ["5", "5", "5", "6", "6"]


@pytest.mark.parametrize("spelling", ["dlg[lr=1,restarts=2]", "dlg[ restarts=2, lr=1.0 ]", "dlg[lr=1e0,restarts=2.0]"])
def test_spellings_of_one_key_are_one_trial(make_plan, spelling):
    canonical = make_plan(attacks=["dlg[lr=1.0,restarts=2]"])
    assert specifications(make_plan(attacks=[spelling])) == specifications(canonical)


def test_a_trial_does_not_depend_on_how_the_suite_is_called_or_cut(make_plan):
    plain = make_plan(batches=2)
    renamed = make_plan(
        name="renamed", description="Of another name.", attacks=["idlg", "dlg"], batch_sizes=[1, 2], batches=3
    )
    assert specifications(plain) < specifications(renamed)


def test_a_preset_is_known_by_its_numbers(make_plan, monkeypatch):
    texts = set()
    for lr in (0.5, 0.25):
        monkeypatch.setitem(PRESETS._entries, "dlg.slow", Entry("dlg.slow", {"lr": lr}))
        texts |= specifications(make_plan(attacks=["dlg.slow"]))
    assert len(texts) == 2


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
    network = exact.network_of(exact.trials[0].spec)
    numbers = sum(2 * layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    assert numbers > 0
    assert exact.trials[0].cell.granted_numbers_per_pixel == numbers / (2 * 3 * 32 * 32)
    assert running.trials[0].cell.granted_numbers_per_pixel == 0


def test_planning_trains_nothing_and_knows_no_weights(make_plan, tmp_path):
    victims = [{"model": "test_resnet", "state": "trained"}, LENET]
    plan = make_plan(victims=victims, grids=[{"image_size": 32}, {"image_size": 64}])
    assert {trial.cell.victim_state for trial in plan.trials} == {"trained", "untrained"}
    assert {trial.spec.weights_hash for trial in plan.trials} == {None}
    assert [str(victim) for victim in plan.networks] == [
        "test_resnet, seed 0, on photos 32 px",
        "lenet_dlg, seed 0, on photos 32 px",
        "test_resnet, seed 0, on photos 64 px",
        "lenet_dlg, seed 0, on photos 64 px",
    ]
    assert not (tmp_path / "cache" / "victims").exists()
    with pytest.raises(ValueError, match="weights of test_resnet are not known"):
        _ = plan.trials[0].id


def test_every_trial_has_its_network_and_data_set(make_plan):
    plan = make_plan(victims=[LENET, RESNET])
    for trial in plan.trials:
        assert plan.network_of(trial.spec) is plan.networks[PlannedVictim.of(trial.spec)].module
        assert plan.dataset_of(trial.spec).name == "photos"
    seconds = estimated_seconds(plan, plan.trials, "cpu")
    assert len(seconds) == len(plan.trials)
    assert min(seconds) > 0


def test_estimates_grow_with_the_budget_and_spare_what_is_skipped(make_plan):
    grids = [{"budget": 10}, {"budget": 1000}]
    plan = make_plan(grids=grids, controls=["prior_only"])
    estimates = list(zip(plan.trials, estimated_seconds(plan, plan.trials, "cpu"), strict=True))
    dear, cheap = (sum(s for trial, s in estimates if trial.spec.budget == budget) for budget in (1000, 10))
    assert dear == pytest.approx(100 * cheap)
    assert {seconds for trial, seconds in estimates if trial.skip_reason} == {0.0}


def test_architectures_are_built_once(write_suite):
    chosen = planner()
    chosen.plan(load_suite(write_suite(grids=[{"budget": 1}, {"budget": 2}], batch_sizes=[1, 2])), "")
    assert len(chosen.networks) == len(chosen.datasets) == 1


def test_the_hash_of_a_suite_is_of_what_it_says(write_suite):
    plain = load_suite(write_suite())
    assert (
        hash_of(plain) == hash_of(load_suite(write_suite("again.yaml"))) != hash_of(load_suite(write_suite(budget=6)))
    )
    assert hash_of(plain) == hash_of(load_suite(write_suite("split.yaml", split="evaluation")))
    assert hash_of(plain) != hash_of(load_suite(write_suite("split.yaml", split="tuning")))
    assert hash_of(select(plain, limit=1)) != hash_of(select(load_suite(write_suite(batches=2)), limit=2))


def test_a_victim_without_gradients_is_called_degenerate_in_its_row(make_plan):
    """timm zero-initialises the classifier of MLP-Mixer, which therefore passes no gradient on."""
    plan = make_plan(victims=[{"model": "mixer_s32_224", "state": "untrained"}], image_size=32)
    assert {trial.cell.victim_state for trial in plan.trials} == {"untrained_degenerate"}


def test_a_part_of_a_suite_keeps_the_places_of_the_whole(write_suite):
    uncut = load_suite(write_suite(attacks=["dlg", "idlg"], batch_sizes=[1, 2]))
    part = select(uncut, attacks=["idlg*"], batch_sizes=[2])
    plans = [planner().plan(suite, "", uncut) for suite in (uncut, part)]
    places = {trial.cell: trial.order for trial in plans[0].trials}
    assert plans[1].trials
    assert all(places[trial.cell] == trial.order for trial in plans[1].trials)


def planner():
    return Planner(device="cpu", download=False)
