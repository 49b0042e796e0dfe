"""Which engine a suite gets: what was asked for, else what the rules say, and never what the device cannot do."""

import pytest
import torch

from gradinv.attacks.attack import Attack
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.runs import engine_choice as engines
from gradinv.benchmark.runs.engine_choice import EngineChoice, parameters_of, program_evaluations
from gradinv.benchmark.runs.suite import Suite
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.registry import RequestError

LENET, RESNET = ({"model": model, "state": "untrained"} for model in ("lenet_dlg", "test_resnet"))


def suite(**changes):
    block = {"victims": [LENET], "attacks": ["inverting_gradients"], "batches": 8, "budget": 10_000}
    return Suite.model_validate({"name": "s", "blocks": [block | changes]})


@pytest.fixture
def compiler(monkeypatch):
    """Whether the compiler works, without trying it."""
    works = [True]
    monkeypatch.setattr(engines, "_compiler_works", lambda: works[0])
    return works


@pytest.mark.parametrize(
    ("device", "changes", "kind"),
    [
        ("cpu", {}, "compiled"),  # 8 batches x 3 gradients x 10,000 evaluations of one program
        ("cpu", {"controls": "none"}, "eager"),
        ("cpu", {"budget": 1_000}, "eager"),
        ("cpu", {"victims": [LENET, RESNET]}, "eager"),
        ("cuda", {}, "eager"),
    ],
)
def test_auto_compiles_where_it_was_measured_to_pay(compiler, device, changes, kind):
    assert EngineChoice().resolve(device, suite(**changes)) == kind


def test_auto_stays_eager_without_a_compiler(compiler):
    compiler[0] = False
    assert EngineChoice().resolve("cpu", suite()) == "eager"


@pytest.mark.parametrize("kind", ["eager", "captured", "compiled"])
def test_what_was_asked_for_is_taken(kind):
    assert EngineChoice(kind).resolve("cuda", suite(budget=1)) == kind


def test_a_program_is_evaluated_by_the_attack_and_the_controls_that_see_a_gradient():
    (block,) = suite(attacks=["dlg", "gradinversion"], batch_sizes=[1, 4], defenses=["none", "clipping"]).blocks
    assert program_evaluations(block) == [3 * 8 * 2 * 10_000] * 4
    (block,) = suite(controls=["other_gradient", "mean_image"]).blocks
    assert program_evaluations(block) == [2 * 8 * 10_000]


def test_small_victims_take_eight_candidates_together_and_others_one():
    attack = create_attack("inverting_gradients")
    for model, together in (("lenet_dlg", 8), ("test_resnet", 8), ("resnet18", 1)):
        module = build_network(model, num_classes=10, image_size=32, untrained=True)
        assert EngineChoice().engine("eager", attack, module) == Engine(together=together)
        assert EngineChoice(together=3, precision="bf16").engine("compiled", attack, module) == Engine(
            "compiled", 3, "bf16"
        )
    assert parameters_of(torch.nn.Linear(3, 2)) == 8


def test_an_attack_with_a_loop_of_its_own_is_left_alone():
    class Own(Attack):
        """Nothing yet."""

    assert EngineChoice("compiled", 8).engine("compiled", Own(), torch.nn.Linear(3, 2)) == Engine()


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (EngineChoice("captured"), "--engine captured: CUDA graphs need a CUDA device"),
        (EngineChoice(precision="bf16"), "--precision bf16: only CUDA devices have it"),
        (EngineChoice(precision="tf32"), "take float32"),
    ],
)
def test_what_the_device_cannot_do_is_refused_in_one_line(choice, reason):
    with pytest.raises(RequestError, match=reason):
        choice.check("cpu")
    choice.check("cuda")


def test_the_compilers_probe_says_no_where_it_raises(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", broken)
    assert engines._compiler_works() is False


def test_a_victim_that_cannot_be_built_for_the_guess_is_not_tiny(compiler):
    assert (
        EngineChoice().resolve("cpu", suite(victims=[LENET, {"model": "inception_v3", "state": "untrained"}]))
        == "eager"
    )
