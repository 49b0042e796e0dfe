"""Gradient matching, for every registered attack: budgets, restarts, seeds, labels, grants, and no traces."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.attack import GradientMatching, LabelPolicy
from gradinv.attacks.gradient_matching.descent import CHECK_EVERY
from gradinv.attacks.gradient_matching.distances import SquaredL2
from gradinv.attacks.gradient_matching.optimizers import Adam, step_decay
from gradinv.attacks.gradient_matching.priors import BatchNormStatistics, Candidate, Prior
from gradinv.attacks.leak import Reconstruction
from gradinv.attacks.registry import ATTACKS, create_attack
from gradinv.attacks.victim import Victim

# Groups have their own tests, and so have networks with positions.
ALONE = {"gradinversion": "gradinversion.fidelity", "april_matching": "april_matching.no_position"}
MATCHING = [name for name in ATTACKS.names() if issubclass(ATTACKS.get(name).target, GradientMatching)]
NAMES = [ALONE.get(name, name) for name in MATCHING]
WITH_PRIOR = [name for name in NAMES if create_attack(name).prior_only() is not None]
each_attack = pytest.mark.parametrize("name", NAMES)


def same_bits(left: Reconstruction, right: Reconstruction) -> bool:
    pairs = ((left.images, right.images), (left.final, right.final), (left.labels, right.labels))
    return all(torch.equal(a, b) for a, b in pairs) and left.curve == right.curve


@each_attack
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("budget", [1, 7, 23])
def test_no_more_parameter_gradients_than_the_budget(
    case: Callable, monkeypatch: pytest.MonkeyPatch, name: str, restarts: int, budget: int
) -> None:
    leak, victim = case()
    attack = create_attack(f"{name}[restarts={restarts}]")
    computed: list[int] = []
    original = Victim.update
    monkeypatch.setattr(
        Victim, "update", lambda self, x, y, **chosen: (computed.append(1), original(self, x, y, **chosen))[1]
    )
    if budget < restarts:
        with pytest.raises(ValueError, match=f"a budget of {budget} evaluations is too small for {restarts} restarts"):
            attack.reconstruct(leak, victim, seed=0, budget=budget)
        return
    reconstruction = attack.reconstruct(leak, victim, seed=0, budget=budget)
    assert reconstruction.evaluations == len(computed) == budget == attack.evaluations(budget)


def test_without_a_budget_the_papers_iterations_are_spent(case: Callable) -> None:
    for key, expected in (("dlg[iterations=2]", 40), ("inverting_gradients[iterations=9,restarts=2]", 18)):
        attack = create_attack(key)
        assert attack.reconstruct(*case(), seed=0).evaluations == expected == attack.evaluations(None)


@each_attack
def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(case: Callable, name: str) -> None:
    runs = [create_attack(name).reconstruct(*case(), seed=seed, budget=15) for seed in (1, 1, 2)]
    assert same_bits(runs[0], runs[1])
    assert not torch.equal(runs[0].images, runs[2].images)


@each_attack
def test_the_global_random_state_is_neither_used_nor_moved(case: Callable, name: str) -> None:
    leak, victim = case()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first = create_attack(name).reconstruct(leak, victim, seed=1, budget=5)
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(1)
        assert same_bits(first, create_attack(name).reconstruct(leak, victim, seed=1, budget=5))


@each_attack
def test_restarts_are_the_single_runs_and_the_best_objective_wins(case: Callable, name: str) -> None:
    """So a restart has its own start, noise, optimizer state and batch-norm statistics."""
    single = [create_attack(name).reconstruct(*case(), seed=seed, budget=12) for seed in (5, 6, 7)]
    assert len({run.objective_start for run in single}) == 3
    together = create_attack(f"{name}[restarts=3]").reconstruct(*case(), seed=5, budget=36)
    best = min(single, key=lambda run: run.objective_end)
    assert same_bits(together, best)
    assert (together.objective_start, together.objective_end) == (best.objective_start, best.objective_end)
    assert together.evaluations == 36


def test_the_bn_prior_acts_on_every_restart(case: Callable, evaluated: list) -> None:
    leak, victim = case()
    create_attack("gradinversion.fidelity[alpha_grad=0,alpha_tv=0,alpha_l2=0,restarts=3]").reconstruct(
        leak, victim, seed=0, budget=60
    )
    for call in evaluated:
        candidate = Candidate(call.images, victim.bn_statistics(call.images), leak.bn_statistics)
        expected = 0.1 * BatchNormStatistics(0.1)(candidate)
        assert call.value == pytest.approx(expected.item(), rel=1e-4)
    for restart in range(3):
        values = [call.value for call in evaluated[20 * restart : 20 * restart + 20]]
        assert min(values) < 0.8 * values[0]


@each_attack
def test_the_victim_the_leak_and_the_caller_are_left_as_they_were(case: Callable, name: str) -> None:
    leak, victim = case()
    before = copy.deepcopy(victim.module.state_dict())
    gradients = {key: value.clone() for key, value in leak.gradients.items()}
    create_attack(name).reconstruct(leak, victim, seed=0, budget=8)
    assert all(torch.equal(before[key], value) for key, value in victim.module.state_dict().items())
    assert all(torch.equal(gradients[key], value) for key, value in leak.gradients.items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in victim.module.modules())
    assert all(parameter.grad is None for parameter in victim.parameters)


def test_hooks_are_gone_after_an_attack_that_failed(case: Callable) -> None:
    leak, victim = case()
    wrong = replace(leak, image_shape=(4, 6, 6), mean=(0.0,) * 4, std=(1.0,) * 4)
    with pytest.raises(RuntimeError):
        create_attack("gradinversion.fidelity").reconstruct(wrong, victim, seed=0, budget=8)
    assert not any(module._forward_pre_hooks for module in victim.module.modules())


@pytest.mark.parametrize("name", ["inverting_gradients", "gradinversion.fidelity"])
def test_the_box_is_respected_by_every_candidate(case: Callable, evaluated: list, name: str) -> None:
    leak, victim = case()
    reconstruction = create_attack(f"{name}[lr=1.0]").reconstruct(leak, victim, seed=0, budget=10)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (leak.mean, leak.std))
    for images in [call.images for call in evaluated] + [reconstruction.images, reconstruction.final]:
        pixels = images * std + mean
        assert pixels.min() >= -1e-6
        assert pixels.max() <= 1 + 1e-6


def test_joint_labels_returned_are_the_optimised_ones(case: Callable, evaluated: list) -> None:
    """With labels all wrong at the start, and right at the end."""
    leak, victim = case(granted="none", bn=False, statistics="none")
    for seed in range(20):
        evaluated.clear()
        reconstruction = create_attack("dlg[lr=0.3]").reconstruct(leak, victim, seed=seed, budget=200)
        best = min(evaluated, key=lambda call: call.value)
        assert reconstruction.labels.tolist() == best.labels.argmax(dim=1).tolist()
        if sorted(reconstruction.labels.tolist()) == [1, 3] != sorted(evaluated[0].labels.argmax(dim=1).tolist()):
            break
    else:
        pytest.fail("no start had the wrong labels and result the right ones")
    assert reconstruction.label_method == "optimised"


@pytest.mark.parametrize(
    ("name", "granted", "method", "uses"),
    [
        ("dlg", "known", "optimised", ("gradient",)),
        ("idlg", "known", "inferred:sum", ("gradient",)),
        ("inverting_gradients", "counts", "given", ("gradient", "labels")),
        ("inverting_gradients", "none", "inferred:sum", ("gradient",)),
        ("gradinversion.fidelity", "known", "given", ("gradient", "labels", "bn_statistics")),
        ("gradinversion.fidelity", "none", "inferred:min", ("gradient", "bn_statistics")),
        ("gradinversion.no_bn", "none", "inferred:min", ("gradient",)),
    ],
)
def test_what_was_granted_and_what_was_used(case: Callable, name: str, granted: str, method: str, uses: tuple) -> None:
    leak, victim = case(granted=granted, batch=1)
    reconstruction = create_attack(name).reconstruct(leak, victim, seed=0, budget=2)
    assert (reconstruction.label_method, reconstruction.uses) == (method, uses)
    if method != "optimised":
        assert reconstruction.labels.tolist() == [3]


@pytest.mark.parametrize("name", WITH_PRIOR)
@pytest.mark.parametrize("granted", ["known", "none"])
def test_prior_only_is_blind_to_the_gradient(case: Callable, name: str, granted: str) -> None:
    leak, victim = case(granted=granted)
    attack = create_attack(name)
    noisy = replace(leak, gradients={key: torch.randn_like(value) for key, value in leak.gradients.items()})
    blind = [attack.prior_only().reconstruct(seen, victim, seed=0, budget=10) for seen in (leak, noisy)]
    assert same_bits(*blind)
    assert "gradient" not in blind[0].uses
    assert blind[0].labels.tolist() == ([3, 1] if granted == "known" else [])
    seeing = [attack.reconstruct(seen, victim, seed=0, budget=10) for seen in (leak, noisy)]
    assert not torch.equal(seeing[0].images, seeing[1].images)


def test_attacks_without_a_prior_have_no_blind_version() -> None:
    for key in ("dlg", "idlg", "gradinversion.grad_only"):
        assert create_attack(key).prior_only() is None
    assert {"inverting_gradients", "gradinversion.fidelity"} <= set(WITH_PRIOR)


def test_tolerance_ends_the_restart_and_the_attack(case: Callable) -> None:
    done = create_attack("dlg[tolerance=1000000,restarts=3]").reconstruct(*case(), seed=0, budget=900)
    assert CHECK_EVERY <= done.evaluations <= CHECK_EVERY + 20
    assert done.stopped == "stopped early, the objective was below the tolerance or did not move any more"
    never = create_attack("dlg[tolerance=0,restarts=3]").reconstruct(*case(), seed=0, budget=180)
    assert (never.evaluations, never.stopped) == (180, "")


def test_what_agents_cannot_share_is_left_and_said(case: Callable) -> None:
    done = create_attack("gradinversion.lazy_group[agents=3]").reconstruct(*case(), seed=0, budget=20)
    assert done.evaluations == 18
    assert done.stopped == "2 evaluations are too few for 3 restarts and agents to share"


def test_an_objective_that_stands_still_ends_the_restart(case: Callable) -> None:
    class Flat(Prior):
        def __call__(self, candidate: Candidate) -> Tensor:
            return (candidate.images * 0).sum()

    attack = GradientMatching(
        distance=None, optimizer=Adam(0.1, step_decay(0.5)), iterations=1, priors=[Flat(1.0)], restarts=2
    )
    assert attack.reconstruct(*case(), seed=0, budget=400).evaluations == 2 * CHECK_EVERY


def test_a_matching_attack_of_ones_own_needs_only_its_parts(case: Callable) -> None:
    attack = GradientMatching(
        distance=SquaredL2(), optimizer=Adam(0.1, step_decay(0.5)), iterations=30, labels=LabelPolicy(rule="min")
    )
    leak, victim = case()
    reconstruction = attack.reconstruct(leak, victim, seed=0)
    assert reconstruction.images.shape == leak.shape
    assert reconstruction.objective_end < reconstruction.objective_start
