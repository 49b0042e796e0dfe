"""Terms of an objective: recorded as a plain loop computes them, and weighed as shares of it where an attack starts."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gradinv.attacks.gradient_matching import GradientMatching, SquaredL2
from gradinv.attacks.gradient_matching.evaluation import Engine, InChunks, InTurn
from gradinv.attacks.gradient_matching.group_consistency import GroupConsistency
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.optimizers import LBFGS, Adam, step_decay
from gradinv.attacks.gradient_matching.priors import Candidate, Prior, TotalVariation
from gradinv.attacks.gradinversion import GradInversion
from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim

ALPHAS = {"alpha_grad": 0.3, "alpha_tv": 0.02, "alpha_l2": 0.005, "alpha_bn": 0.7}
TERMS = ("gradient", "tv", "l2", "bn")
SHARES = {"gradient": 0.5, "tv": 0.25, "l2": 0.05, "bn": 0.2}


def by_hand(images: Tensor, leak: Leak, victim: Victim) -> dict[str, float]:
    """Unweighted terms of GradInversion, with plain loops."""
    seen = []
    hooks = [m.register_forward_hook(lambda _, i, __: seen.append(i[0])) for m in victim.bn_layers[::-1]]
    loss = cross_entropy(victim.module(images), leak.labels)
    gradients = torch.autograd.grad(loss, victim.parameters)
    seen = [features.detach() for features in seen]
    for hook in hooks:
        hook.remove()
    pairs = zip(gradients, leak.gradients.values(), strict=True)
    x, statistics = images.double().numpy(), zip(seen, leak.bn_statistics[::-1], strict=True)
    steps = [x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]]
    steps += [x[..., 1:, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, 1:]]
    return {
        "gradient": sum(float((g - t).square().sum()) ** 0.5 for g, t in pairs),
        "tv": sum((step**2).sum() ** 0.5 for step in steps),
        "l2": sum((image**2).sum() ** 0.5 for image in x) / len(x),
        "bn": sum(
            float((f.mean((0, 2, 3)) - m).norm() + (f.var((0, 2, 3), correction=0) - v).norm())
            for f, (m, v) in statistics
        ),
    }


def test_terms_are_what_plain_loops_compute_at_the_points_of_the_curve(case: Callable, evaluated: list) -> None:
    leak, victim = case()
    attack = GradInversion(
        **ALPHAS, agents=2, alpha_group=0.4, consensus="lazy", group_start=0.5, group_every=0.1, lr=0.05
    )
    result = attack.reconstruct(leak, victim, seed=3, budget=20)
    steps, (first, second) = len(result.curve), (evaluated[0::2], evaluated[1::2])
    best = first if result.curve[0][1] == first[0].value else second
    weights = dict(zip(TERMS, ALPHAS.values(), strict=True))
    for step, (_, objective) in enumerate(result.curve):
        expected = {name: weights[name] * value for name, value in by_hand(best[step].images, leak, victim).items()}
        assert {name: result.terms[name][step] for name in TERMS} == pytest.approx(expected, rel=1e-4)
        assert sum(expected.values()) == pytest.approx(objective, rel=1e-4)
        middle = (first[step].images + second[step].images) / 2
        pull = 0.4 * (best[step].images - middle).flatten(1).norm(dim=1).mean()
        assert result.terms["group"][step] == pytest.approx(float(pull) if step >= steps / 2 else 0.0, rel=1e-4)


def test_without_a_pull_there_is_no_group_and_a_second_prior_of_a_name_is_numbered(case: Callable) -> None:
    class Unnamed(TotalVariation):
        term = "prior"

    priors: list[Prior] = [TotalVariation(0.1), Unnamed(0.1), TotalVariation(0.2)]
    attack = GradientMatching(distance=SquaredL2(), optimizer=LBFGS(lr=0.1), iterations=5, priors=priors)
    result = attack.reconstruct(*case(), seed=0)
    assert list(result.terms) == ["gradient", "tv", "prior", "tv 2"]
    assert result.terms["tv 2"] == pytest.approx([2 * value for value in result.terms["tv"]])


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_every_term_starts_at_its_share_whatever_the_network(case: Callable, scale: float) -> None:
    leak, victim = case()
    with torch.no_grad():
        victim.module.head.weight.mul_(scale)
    result = balanced().reconstruct(leak, victim, seed=3, budget=21)
    assert {name: result.terms[name][0] for name in TERMS} == pytest.approx(SHARES, rel=1e-5)
    assert result.objective_start == pytest.approx(1.0, rel=1e-5)
    assert (result.evaluations, len(result.curve)) == (21, 20)


def balanced(**changes: object) -> GradInversion:
    shares = {f"alpha_{name.removesuffix('ient')}": share for name, share in SHARES.items()}
    return GradInversion(**(shares | {"weights": "shares", "agents": 1, "alpha_noise": 0.0} | changes))


def test_shares_are_the_absolute_weights_that_follow_from_the_start(case: Callable, evaluated: list) -> None:
    leak, victim = case()
    result = balanced().reconstruct(leak, victim, seed=3, budget=21)
    raw = by_hand(evaluated[0].images, leak, victim)
    alphas = {f"alpha_{name.removesuffix('ient')}": SHARES[name] / raw[name] for name in TERMS}
    absolute = GradInversion(**alphas, agents=1, alpha_noise=0.0).reconstruct(leak, victim, seed=3, budget=20)
    assert [v for _, v in result.curve] == pytest.approx([v for _, v in absolute.curve], rel=1e-3)
    torch.testing.assert_close(result.images, absolute.images, rtol=1e-2, atol=1e-2)


def test_a_share_of_the_group_is_what_its_term_would_be_at_the_start(case: Callable) -> None:
    agents = torch.randn(3, 2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    bond = GroupConsistency(3, 0.3, "lazy", 0.0, 0.1, is_share=True).bond(10, torch.tensor([0, 1]))
    bond.meet(agents)
    bond.renew(agents, [0.0] * 3)
    assert float(bond.penalty(agents).mean()) == pytest.approx(0.3)
    bond.meet(agents[:1].expand(3, -1, -1, -1, -1))  # one place: nothing to be a share of
    assert float(bond.penalty(agents).sum()) == 0
    result = balanced(agents=2, alpha_group=0.3, consensus="lazy", group_start=0.0).reconstruct(
        *case(), seed=3, budget=9
    )
    assert result.terms["group"][0] == pytest.approx(0.3, rel=1e-4)


def test_the_evaluation_that_finds_the_weights_is_paid_for(case: Callable) -> None:
    leak, victim = case()
    attack = balanced(agents=2, consensus="lazy")
    result = attack.reconstruct(leak, victim, seed=0, budget=20)
    assert victim.evaluations.spent == result.evaluations == 19
    assert result.stopped == "1 evaluations are too few for 2 restarts and agents to share"
    with pytest.raises(ValueError, match="too small for 1 restarts of 2 agents, and 1 that finds"):
        attack.reconstruct(leak, victim, seed=0, budget=2)
    assert attack.evaluations(None) == 2 * 20_000 + 1


def test_blind_attacks_keep_the_shares_of_their_priors(case: Callable) -> None:
    result = balanced().prior_only().reconstruct(*case(), seed=3, budget=5)
    assert {name: values[0] for name, values in result.terms.items()} == pytest.approx(
        {name: share for name, share in SHARES.items() if name != "gradient"}, rel=1e-5
    )


class Late(Prior):
    """Nothing at first."""

    calls = 0

    def __call__(self, candidate: Candidate) -> Tensor:
        self.calls += 1
        return candidate.images.square().mean() * (self.calls > 2)


def test_a_term_that_starts_at_nothing_keeps_its_weight(case: Callable) -> None:
    attack = GradientMatching(
        distance=SquaredL2(), optimizer=Adam(0.1, step_decay(1.0)), iterations=4, priors=[Late(0.5)], shares=True
    )
    result = attack.reconstruct(*case(), seed=0)
    assert result.terms["gradient"][0] == pytest.approx(1.0)
    assert result.terms["prior"][0] == 0
    assert 0 < result.terms["prior"][1] < 10


@pytest.mark.parametrize("way", [Engine(together=2), Engine("captured")], ids=str)
def test_programs_take_factors_as_autograd_does_and_its_gradient_is_the_slope(
    make_net: Callable, make_images: Callable, make_leak: Callable, way: Engine
) -> None:
    net, labels = make_net(dtype=torch.float64), torch.tensor([3, 1])
    leak = make_leak(net, make_images(2, seed=9, dtype=torch.float64), labels, statistics="exact")
    victim, attack = Victim(net), GradInversion(**ALPHAS)
    objective = Objective(victim, attack.distance, attack.priors)
    factors = [torch.tensor(values, dtype=torch.float64) for values in ([2.0, 3.0, 5.0, 7.0], [1.0, 0.5, 0.2, 0.1])]
    given = [{**objective.given(leak, labels), "factors": [factor]} for factor in factors]
    points = [torch.stack([make_images(2, seed=seed, dtype=torch.float64) for seed in (1, 2)])]
    direction, step = make_images(2, seed=3, dtype=torch.float64), 1e-6
    with objective.ready():
        by_program = InChunks(objective, points, given, way)(points, [False] * 2)
        in_turn = InTurn(objective, given)(points, [False] * 2)
        plain = objective.evaluate([points[0][0]], objective.given(leak, labels)).terms
        ahead, behind = (objective.evaluate([points[0][0] + s * direction], given[0]).value for s in (step, -step))
    torch.testing.assert_close(in_turn.terms[0], plain * factors[0], rtol=1e-12, atol=0)
    for part, expected in zip(by_program, in_turn, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-12)
    slope = (in_turn.slopes[0][0] * direction).sum()
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("key", ["gradinversion.balanced", "gradinversion.balanced_no_bn"])
def test_balanced_presets_are_shares_that_sum_to_at_most_one(key: str) -> None:
    attack = create_attack(key)
    weights = Objective(None, attack.distance, attack.priors).weights
    assert attack.shares
    assert 0 < sum(weights) <= 1 + 1e-9
