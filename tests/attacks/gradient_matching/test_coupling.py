"""Groups of agents: each on its own until the start, the same batched as in turn, selected without the group term."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching import Adam, Bond, Coupling, GradientMatching, SquaredL2, step_decay
from gradinv.attacks.gradient_matching.descent import Agents
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.variables import Evaluated, Given
from gradinv.attacks.gradinversion import GradInversion
from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim

LAZY = "gradinversion.lazy_group"


def agents_of(attack: GradientMatching, leak: Leak, victim: Victim, budget: int) -> Agents:
    """The agents of the attack's one restart, after their descent."""
    kept: list[Agents] = []
    original = Agents.reconstruction
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Agents, "reconstruction", lambda self, *rest: (kept.append(self), original(self, *rest))[1])
        attack.reconstruct(leak, victim, seed=5, budget=budget)
    return kept[0]


@pytest.mark.parametrize(("budget", "spent"), [(3, 3), (11, 9), (24, 24)])
def test_agents_share_the_budget(case: Callable, monkeypatch: pytest.MonkeyPatch, budget: int, spent: int) -> None:
    computed: list[int] = []
    original = Victim.update
    monkeypatch.setattr(
        Victim, "update", lambda self, x, y, **rest: (computed.append(1), original(self, x, y, **rest))[1]
    )
    result = create_attack(f"{LAZY}[agents=3]").reconstruct(*case(), seed=0, budget=budget)
    assert result.evaluations == len(computed) == spent


def test_a_budget_below_one_evaluation_an_agent_is_refused(case: Callable) -> None:
    with pytest.raises(ValueError, match="a budget of 5 evaluations is too small for 2 restarts of 3 agents"):
        create_attack(f"{LAZY}[agents=3,restarts=2]").reconstruct(*case(), seed=0, budget=5)


def test_the_papers_budget_counts_every_agent() -> None:
    assert create_attack("gradinversion").evaluations(None) == 8 * 20_000
    assert create_attack("gradinversion.fidelity").evaluations(None) == 20_000


def test_without_weight_the_agents_are_restarts(case: Callable) -> None:
    group = create_attack(f"{LAZY}[agents=3,alpha_group=0.0,group_start=0.0]")
    restarts = create_attack("gradinversion.fidelity[restarts=3]")
    result, expected = (attack.reconstruct(*case(), seed=5, budget=36) for attack in (group, restarts))
    assert torch.equal(result.images, expected.images)
    assert result.objective_end == expected.objective_end
    assert result.evaluations == expected.evaluations


def test_until_the_start_every_agent_goes_its_own_way_and_then_it_does_not(case: Callable) -> None:
    attack = create_attack(f"{LAZY}[agents=2,group_start=0.5,alpha_group=10.0]")
    alone = create_attack("gradinversion.fidelity")
    leak, victim = case()
    together = agents_of(attack, leak, victim, 40)
    for index in range(2):
        single = alone.reconstruct(leak, victim, seed=5 + index, budget=20)
        coupled, free = together.descent.tracker.curve(index), [value for _, value in single.curve]
        assert coupled[:11] == free[:11]
        assert coupled[11:] != free[11:]


def test_the_group_draws_the_agents_together(case: Callable) -> None:
    leak, victim = case()
    spread = {}
    for weight in (0.0, 1.0):
        attack = create_attack(f"{LAZY}[agents=4,alpha_group={weight},group_start=0.1,group_every=0.05]")
        spread[weight] = float(attack.reconstruct(leak, victim, seed=3, budget=240).spread.mean())
    assert spread[1.0] < 0.5 * spread[0.0]


def test_what_selects_is_the_objective_without_the_group_among_iterates_from_its_start(case: Callable) -> None:
    leak, victim = case()
    attack = GradInversion(agents=2, consensus="lazy", alpha_group=1e6, alpha_noise=20.0, group_start=0.5)
    agents = agents_of(attack, leak, victim, 40)
    curves = torch.tensor([agents.descent.tracker.curve(index) for index in range(2)])
    result = attack.reconstruct(leak, victim, seed=5, budget=40)
    assert result.objective_end == float(curves[:, 10:].min())
    objective = Objective(victim, attack.distance, attack.priors)
    with objective.ready():
        value, _, _ = objective.evaluate([result.images], objective.given(leak, leak.labels))
    assert value.item() == pytest.approx(result.objective_end, rel=1e-5)
    assert float(curves[:, :10].min()) < result.objective_end  # so the choice of iterates mattered


def test_one_agent_selects_from_the_same_iterates_as_a_group(case: Callable) -> None:
    """So that the rungs of the ablation differ in one step alone."""
    leak, victim = case()
    result = GradInversion(agents=1, alpha_noise=20.0, group_start=0.5).reconstruct(leak, victim, seed=5, budget=20)
    values = [value for _, value in result.curve]
    assert result.objective_end == min(values[10:]) > min(values)


def test_a_group_reports_consensus_spread_and_registrations(case: Callable) -> None:
    leak, victim = case()
    lazy = create_attack(f"{LAZY}[agents=3]").reconstruct(leak, victim, seed=1, budget=30)
    assert lazy.consensus.shape == lazy.spread.shape == leak.shape
    assert lazy.alignments == {}
    alone = create_attack("gradinversion.fidelity").reconstruct(leak, victim, seed=1, budget=30)
    assert alone.consensus is alone.spread is None
    assert lazy.curve[-1][0] == lazy.snapshot_at[-1] == lazy.evaluations == 30


def test_a_registered_group_counts_every_registration(
    build: Callable, make_images: Callable, make_leak: Callable
) -> None:
    net = build("test_resnet", size=32)
    leak = make_leak(net, make_images(2, size=32), torch.tensor([3, 1]), statistics="exact")
    attack = create_attack("gradinversion[agents=3,group_start=0.5,group_every=0.25]")
    result = attack.reconstruct(leak, Victim(net), seed=1, budget=24)  # steps 4 and 6 of 8
    assert sum(result.alignments.values()) == 2 * 3 * 2


def test_equal_seeds_give_equal_bits_and_the_global_random_state_is_left_alone(case: Callable) -> None:
    leak, victim = case()
    before = torch.get_rng_state()
    attack = create_attack(f"{LAZY}[agents=2,restarts=2]")
    first, again, other_seed = (attack.reconstruct(leak, victim, seed=seed, budget=40) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.consensus, again.consensus)
    assert not torch.equal(first.images, other_seed.images)


def test_restarts_of_groups_have_agents_of_their_own(case: Callable) -> None:
    """Seeds 1-2 for the first restart, 3-4 for the second: none is used twice."""
    single = [create_attack(f"{LAZY}[agents=2]").reconstruct(*case(), seed=seed, budget=20) for seed in (1, 3)]
    together = create_attack(f"{LAZY}[agents=2,restarts=2]").reconstruct(*case(), seed=1, budget=40)
    assert torch.equal(together.images, min(single, key=lambda run: run.objective_end).images)


def test_a_diverged_agent_is_left_behind(case: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    leak, victim = case()
    original = Objective.evaluate
    calls = 0

    def breaking(self: Objective, candidate: Sequence[Tensor], given: Given) -> Evaluated:
        nonlocal calls
        calls += 1
        value, gradients, terms = original(self, candidate, given)
        if calls > 60 and calls % 2:  # the first of two agents, from step 30 on
            return Evaluated(value * torch.nan, [gradient * torch.nan for gradient in gradients], terms)
        return Evaluated(value, gradients, terms)

    monkeypatch.setattr(Objective, "evaluate", breaking)
    attack = create_attack(f"{LAZY}[agents=2,group_start=0.0]")
    result = attack.reconstruct(leak, victim, seed=1, budget=80)
    assert torch.isfinite(result.images).all()
    assert torch.isfinite(result.consensus).all()


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_a_whole_run_is_the_same_together_as_in_turn(case_in_float64: Callable, bn_mode: str) -> None:
    """So each agent has its own gradient and batch-norm statistics; five fill a chunk of four and a part of another."""
    leak, victim = case_in_float64(bn_mode)
    attack = create_attack(f"{LAZY}[agents=5,group_start=0.2,group_every=0.2]")
    in_turn = attack.reconstruct(leak, victim, seed=2, budget=50)
    attack.engine = Engine(together=4)
    together = attack.reconstruct(leak, victim, seed=2, budget=50)
    assert (together.engine, in_turn.engine) == ("eager, 4 together", "eager")
    torch.testing.assert_close(together.images, in_turn.images, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(together.consensus, in_turn.consensus, rtol=1e-7, atol=1e-7)
    assert together.evaluations == in_turn.evaluations


class Leash(Bond):
    """Holds each agent to where it was when the bond was renewed last."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, list[float]]] = []
        self.home: Tensor | None = None

    def is_due(self, step: int) -> bool:
        return step in (3, 6)

    def renew(self, agents: Tensor, latest: Sequence[float]) -> None:
        self.home = agents.clone()
        self.seen.append((len(agents), list(latest)))

    def penalty(self, agents: Tensor) -> Tensor | None:
        return None if self.home is None else 1e6 * (agents - self.home).square().flatten(1).sum(dim=1)

    def describe(self, reconstruction: Reconstruction, agents: Tensor, best: int) -> Reconstruction:
        return replace(reconstruction, notes=(f"agent {best} of {len(agents)}",))


class Leashed(Coupling):
    """Two agents, each held where it is; keeps the bonds that it made."""

    agents = 2

    def __init__(self) -> None:
        self.bonds: list[Leash] = []

    def bond(self, steps: int, labels: Tensor | None) -> Bond:
        self.bonds.append(Leash())
        return self.bonds[-1]


def test_a_coupling_of_ones_own_is_one_class_with_its_bond(case: Callable) -> None:
    """Called when it is due, in every restart anew; until then the agents are as free as restarts."""
    leak, victim = case()
    coupling, optimizer = Leashed(), Adam(0.1, step_decay(0.9))
    attack = GradientMatching(
        distance=SquaredL2(), optimizer=optimizer, iterations=10, restarts=2, coupling=coupling, box=False
    )
    result = attack.reconstruct(leak, victim, seed=4)
    assert (result.evaluations, attack.candidates) == (2 * 2 * 10, 2)
    assert [[count for count, _ in bond.seen] for bond in coupling.bonds] == [[2, 2]] * 2
    free = GradientMatching(distance=SquaredL2(), optimizer=optimizer, iterations=10, box=False)
    curves = [[v for _, v in free.reconstruct(leak, victim, seed=seed).curve] for seed in (4, 5, 6, 7)]
    assert [latest for bond in coupling.bonds for latest in bond.seen[0][1]] == [curve[2] for curve in curves]
    assert coupling.bonds[0].seen[1][1] != [curves[0][5], curves[1][5]]


def test_what_a_coupling_says_and_needs_is_heard(case: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = GradientMatching(
        distance=SquaredL2(), optimizer=Adam(0.1, step_decay(0.9)), iterations=8, coupling=Leashed()
    )
    (note,) = attack.reconstruct(*case(), seed=4).notes
    assert note in ("agent 0 of 2", "agent 1 of 2")
    monkeypatch.setattr(Leashed, "reason_to_skip", lambda self, conditions: f"not at {conditions.image_size} px")
    conditions = Conditions(ThreatModel(), 2, 5, bn_layers=0, trained=True, image_size=6)
    assert attack.reason_to_skip(conditions) == "not at 6 px"


@pytest.fixture
def case_in_float64(make_net: Callable, make_images: Callable, make_leak: Callable) -> Callable:
    """`case_in_float64(bn_mode)`: a leak of two images in double precision and its victim."""

    def make(bn_mode: str) -> tuple[Leak, Victim]:
        net = make_net(dtype=torch.float64)
        labels = torch.tensor([3, 1])
        leak = make_leak(net, make_images(2, seed=9, dtype=torch.float64), labels, statistics="exact")
        return leak, Victim(net, bn_mode=bn_mode)

    return make
