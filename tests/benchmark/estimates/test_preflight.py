"""What is said before a run: the time it will take, and that its evaluations do not fit."""

import itertools
import math

import pytest

from gradinv.benchmark.estimates import preflight
from gradinv.benchmark.estimates.memory import GIB
from gradinv.benchmark.estimates.preflight import estimated_seconds, memory_warnings, seconds_per_evaluation

RESNET = {"model": "resnet18", "state": "untrained"}


def test_a_candidate_among_eight_is_timed_among_eight(make_plan, monkeypatch):
    spec = make_plan(attacks=["inverting_gradients"]).trials[0].spec
    assert spec.together == 8
    clock = itertools.count()  # every call of an objective takes a second, however many candidates it has
    monkeypatch.setattr(preflight.time, "perf_counter", lambda: float(next(clock)))
    assert [seconds_per_evaluation(make_plan(), spec, "cpu", n) for n in (8, 1)] == [1 / 8, 1.0]


def test_one_line_for_each_kind_of_evaluation_that_does_not_fit(make_plan, monkeypatch):
    plan = make_plan(attacks=["dlg", "idlg"], batch_sizes=[1, 4], batches=2)
    monkeypatch.setattr(preflight, "SMALL", 0)
    monkeypatch.setattr(preflight, "available_bytes", lambda device: 1)
    first, second = memory_warnings(plan, plan.trials, "cpu", 2)
    assert first.startswith("lenet_dlg, B=1 in 2 jobs: an evaluation needs about")
    assert second.startswith("lenet_dlg, B=4 in 2 jobs: ")
    monkeypatch.setattr(preflight, "available_bytes", lambda device: 500 * GIB)
    assert memory_warnings(plan, plan.trials, "cpu", 2) == []


def test_an_attack_with_a_loop_of_its_own_hides_no_other(make_plan, monkeypatch):
    victim = {"model": "mlp_cpa", "state": "untrained"}
    plan = make_plan(victims=[victim], attacks=["ratio", "dlg"], batches=1, image_size=8)
    assert plan.trials[0].spec.attack == "ratio"
    assert not plan.trials[0].skip_reason
    monkeypatch.setattr(preflight, "SMALL", 0)
    monkeypatch.setattr(preflight, "available_bytes", lambda device: 1)
    (line,) = memory_warnings(plan, plan.trials, "cpu", 1)
    assert line.startswith("mlp_cpa, B=1: ")


def test_small_victims_are_not_estimated(make_plan, monkeypatch):
    monkeypatch.setattr(preflight, "evaluation_bytes", None)
    plan = make_plan()
    assert memory_warnings(plan, plan.trials, "cpu", 1) == []


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, TypeError])
def test_where_nothing_can_be_told_nothing_is_said(make_plan, monkeypatch, error):
    def untold(*_, **__):
        raise error("its shape depends on values")

    monkeypatch.setattr(preflight, "evaluation_bytes", untold)
    plan = make_plan(victims=[RESNET])
    assert memory_warnings(plan, plan.trials, "cpu", 1) == []


def test_a_victim_that_takes_no_vmap_is_timed_in_turn(make_plan, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError(".item() on a Tensor inside vmap")

    monkeypatch.setattr(preflight.torch.func, "vmap", refused)
    plan = make_plan(attacks=["inverting_gradients"])
    assert plan.trials[0].spec.together == 8
    assert estimated_seconds(plan, plan.trials[:1], "cpu")[0] > 0


def test_a_victim_that_cannot_be_evaluated_leaves_the_others_their_estimates(make_plan, monkeypatch):
    plan = make_plan(
        victims=[{"model": "lenet_dlg", "state": "untrained"}, {"model": "test_resnet", "state": "untrained"}]
    )
    _, bad = plan.trials
    monkeypatch.setattr(plan.network_of(bad.spec), "forward", None)
    first, second = estimated_seconds(plan, plan.trials, "cpu")
    assert first > 0
    assert math.isnan(second)


def test_what_simulates_local_steps_is_timed_by_itself(make_plan, monkeypatch):
    asked = []

    def seconds(plan, spec, device, together):
        asked.append(spec.threat_model.known_update)
        return 1.0 + len(asked)

    monkeypatch.setattr(preflight, "seconds_per_evaluation", seconds)
    local = "weight_update[epochs=9,lr=0.01]"
    plan = make_plan(grids=[{}, {"threat_model": {"update": local}}, {"threat_model": {"update": local}, "batches": 2}])
    assert estimated_seconds(plan, plan.trials, "cpu") == [10.0, 15.0, 15.0]
    assert asked == ["gradient", local]


def test_a_simulation_is_measured(make_plan):
    plan = make_plan(threat_model={"update": "weight_update[epochs=2,lr=0.01]"})
    assert seconds_per_evaluation(plan, plan.trials[0].spec, "cpu", 1) > 0
