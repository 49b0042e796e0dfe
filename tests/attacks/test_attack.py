"""The contract of an attack: it knows no way of evaluating candidates, and says itself whether trials may be packed."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gradinv.attacks.attack import Attack
from gradinv.attacks.gradient_matching import GradientMatching
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim

LOADED = """
import sys
import torch
before = set(sys.modules)
import gradinv.attacks.attack
print(*sorted(set(sys.modules) - before))
"""


def test_the_contract_knows_no_engine() -> None:
    """In a fresh process: nothing of the machine under the attacks, and no compiler beyond what torch itself loads."""
    printed = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout.split()
    assert "gradinv.attacks.leak" in printed
    machinery = (
        "gradinv.attacks.gradient_matching",
        "gradinv.benchmark",
        "torch._dynamo",
        "torch._inductor",
        "torch.fx",
    )
    assert not [name for name in printed if name.startswith(machinery)]
    assert not hasattr(Attack, "engine")


def test_trials_are_run_by_themselves_unless_an_attack_declares_otherwise(case: Callable) -> None:
    calls: list[int] = []

    class Own(Attack):
        """Returns zeros."""

        def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
            calls.append(seed)
            images = next(iter(leak.gradients.values())).new_zeros(leak.shape)
            return Reconstruction(images, images, leak.labels, "given")

    leak, victim = case()
    assert Own().candidates is None
    assert len(Own().reconstruct_together([leak, leak], victim, seeds=[3, 4], budget=5)) == 2
    assert calls == [3, 4]


@pytest.mark.parametrize(
    ("key", "candidates"), [("dlg", 1), ("gradinversion", 8), ("gradinversion.fidelity", 1), ("inverting_gradients", 1)]
)
def test_gradient_matching_declares_its_agents(key: str, candidates: int) -> None:
    assert create_attack(key).candidates == candidates


@pytest.mark.parametrize("method", ["reconstruct", "reconstruct_together"])
def test_a_variant_that_reconstructs_in_its_own_way_must_say_whether_trials_may_be_packed(method: str) -> None:
    def overriding(self: GradientMatching, *arguments: Any, **options: Any) -> Any:
        return getattr(super(type(self), self), method)(*arguments, **options)

    with pytest.raises(TypeError, match=rf"^Silent overrides {method}, so its body must say packs_trials = False"):
        type("Silent", (GradientMatching,), {method: overriding})
    for packs in (False, True):
        declared = type("Declared", (GradientMatching,), {method: overriding, "packs_trials": packs})
        assert type("Heir", (declared,), {}).packs_trials == packs
        with pytest.raises(TypeError, match="Heir overrides"):
            type("Heir", (declared,), {method: overriding})


def test_what_is_not_packed_is_never_bypassed(case: Callable) -> None:
    """Not even by a runner that hands it several leaks."""

    class Later(type(create_attack("inverting_gradients"))):
        """Inverting Gradients from other seeds."""

        packs_trials = False

        def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
            return super().reconstruct(leak, victim, seed=seed + 100, budget=budget)

    leak, victim = case()
    expected = create_attack("inverting_gradients").reconstruct(leak, victim, seed=101, budget=5)
    (first, _) = Later().reconstruct_together([leak, leak], victim, seeds=[1, 2], budget=5)
    assert first.curve == expected.curve == Later().reconstruct(leak, victim, seed=1, budget=5).curve
    assert Later().candidates is None
