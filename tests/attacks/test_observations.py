"""Several updates of one batch, each from another state: the mean of their distances, counted as what it costs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching import CosineDistance, LayerwiseL2, Objective, SquaredL2, TotalVariation
from gradinv.attacks.gradient_matching.evaluation import Engine, InChunks, InTurn
from gradinv.attacks.leak import Leak, LeakError, Observation, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.transforms import UnansweredError
from gradinv.attacks.victim import Victim

LABELS = torch.tensor([3, 1])
STEPS = "weight_update[epochs=2,lr=0.1]"
DISTANCES = [SquaredL2(), LayerwiseL2(), CosineDistance()]


def sent_from(net: nn.Module, state: dict[str, Tensor], images: Tensor, update: str) -> dict[str, Tensor]:
    """What is sent from a state, by plain autograd and a plain loop."""
    weights, steps = state, 2 if update == STEPS else 1
    for _ in range(steps):
        leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
        loss = nn.functional.cross_entropy(torch.func.functional_call(net, leaves, (images,)), LABELS[: len(images)])
        slopes = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        weights = {name: value - 0.1 * slopes[name] for name, value in weights.items()}
    return slopes if update == "gradient" else {name: value - weights[name] for name, value in state.items()}


@pytest.fixture
def seen(make_net: Callable, make_images: Callable, make_leak: Callable) -> Callable[..., tuple[Leak, nn.Module]]:
    """`seen(count, net=None, update="gradient", move=1.0, noise=(0.0, 0, True))`: so many updates, and the network.

    Between them the network moves by `move` times what was sent, to which noise of a scale and a seed is added: drawn
    anew in every round, or the same again and again.
    """

    def make(
        count: int,
        *,
        net: nn.Module | None = None,
        update: str = "gradient",
        move: float = 1.0,
        noise: tuple[float, int, bool] = (0.0, 0, True),
    ) -> tuple[Leak, nn.Module]:
        batch = 2 if net is None else 1
        net = net or make_net(bn=False, dtype=torch.float64, seed=2)
        images = make_images(batch, seed=9, dtype=torch.float64)
        state = {name: value.detach().clone() for name, value in net.named_parameters()}
        observations, (scale, seed, anew) = [], noise
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            sent = sent_from(net, state, images, update)
            draw = generator if anew else torch.Generator().manual_seed(seed)
            sent = {n: v + scale * torch.randn(v.shape, generator=draw, dtype=v.dtype) for n, v in sent.items()}
            observations.append(Observation(state, sent))
            state = {name: value - move * sent[name] for name, value in state.items()}
        model = ThreatModel(labels="known", bn_statistics="none", update=update, observations=count)
        leak = replace(make_leak(net, images, LABELS[:batch]), threat_model=model)
        return replace(leak, gradients=observations[0].gradients, later=tuple(observations[1:])), net

    return make


def value_and_slope(objective: Objective, images: Tensor, leak: Leak) -> tuple[Tensor, Tensor]:
    with objective.ready():
        value, slopes, _ = objective.evaluate([images], objective.given(leak, LABELS))
    return value, slopes[0]


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_the_same_update_twice_counts_as_once(seen: Callable, make_images: Callable, distance: object) -> None:
    leak, net = seen(1)
    state = {name: value.detach() for name, value in net.named_parameters()}
    twice = replace(leak, later=(Observation(state, leak.gradients),))
    objective, images = Objective(Victim(net), distance, [TotalVariation(0.1)]), make_images(2, dtype=torch.float64)
    once, both = (value_and_slope(objective, images, each) for each in (leak, twice))
    torch.testing.assert_close(both, once, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("update", ["gradient", STEPS])
@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_it_is_the_mean_of_the_distances_and_slopes_are_finite_differences(
    seen: Callable, make_images: Callable, distance: object, update: str
) -> None:
    leak, net = seen(3, update=update)
    victim = Victim(net, update=update)
    objective, images = Objective(victim, distance, []), make_images(2, dtype=torch.float64)
    scale = 5.0 if update == STEPS else 1.0  # two steps of 0.1: distances are in units of a gradient
    apart = []
    first = Observation({name: value.detach() for name, value in net.named_parameters()}, leak.gradients)
    for state, sent in ((each.state, each.gradients) for each in (first, *leak.later)):
        mine = sent_from(net, state, images, update)
        pair = ([scale * value for value in mine.values()], [scale * sent[name] for name in mine])
        apart.append(distance.value(pair[0], distance.prepare(pair[1])))
    value, slope = value_and_slope(objective, images, leak)
    torch.testing.assert_close(value, torch.stack(apart).mean(), rtol=1e-10, atol=1e-12)
    assert min(apart) < 0.99 * max(apart)  # states that differ, else the mean would prove nothing
    direction = make_images(2, seed=1, dtype=torch.float64)
    ends = [value_and_slope(objective, images + step * direction, leak)[0] for step in (1e-5, -1e-5)]
    torch.testing.assert_close((slope * direction).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-9)


def test_programs_compute_what_autograd_does(seen: Callable) -> None:
    # Of the surrogate, which makes its weights from each state itself.
    leak, net = seen(2, update=STEPS)
    attack = create_attack("surrogate_model")
    objective = attack.objective(Victim(net, update=STEPS), "")
    given = [{**objective.given(leak, LABELS), "factors": [torch.tensor([2.0, 3.0], dtype=torch.float64)]}] * 2
    starts = [attack.start(leak, objective.victim, seed) for seed in (0, 1)]
    points = [torch.stack(parts) for parts in zip(*starts, strict=True)]
    with objective.ready():
        together = InChunks(objective, points, given, Engine(together=2))(points, [False] * 2)
        in_turn = InTurn(objective, given)(points, [False] * 2)
    flat = [(result.value, result.terms, *result.slopes) for result in (together, in_turn)]
    for one, other in zip(*flat, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("key", ["inverting_gradients", "gradinversion.no_bn", "inverting_gradients[restarts=2]"])
def test_an_evaluation_of_a_candidate_counts_once_for_every_state(seen: Callable, key: str) -> None:
    attack = create_attack(key)
    leak, net = seen(3)
    victim = Victim(net)
    result = attack.reconstruct(leak, victim, seed=0, budget=40)
    assert victim.evaluations.spent == result.evaluations == 39  # 13 steps, and one evaluation too few for another
    assert result.curve[0][0] == 3
    assert all(spent % 3 == 0 for spent, _ in result.curve)
    assert "states" in result.stopped


def test_what_goes_by_one_update_is_skipped_and_a_small_budget_too() -> None:
    several = Conditions(ThreatModel(observations=3, bn_statistics="none"), 1, 10, 0, False, 16, budget=2)
    assert "goes by one update of the batch, and 3 are received" in create_attack("ratio").reason_impossible(several)
    assert "2 evaluations is too small" in create_attack("inverting_gradients").reason_impossible(several)
    one = Conditions(ThreatModel(bn_statistics="none"), 1, 10, 0, False, 16, budget=2)
    assert create_attack("inverting_gradients").reason_impossible(one) is None


def test_a_secret_drawn_anew_in_every_round_has_no_answer(seen: Callable) -> None:
    leak, net = seen(2)
    attack = create_attack("inverting_gradients")
    for each, fails in ((leak, True), (replace(leak, later=()), False)):
        mixed = replace(each, transform="mixed")
        if fails:
            with pytest.raises(UnansweredError, match="2 rounds it draws anew"):
                attack.reconstruct(mixed, Victim(net), seed=0, budget=8)
        else:
            attack.reconstruct(mixed, Victim(net), seed=0, budget=8)


def test_observations_of_another_network_are_refused(seen: Callable) -> None:
    leak, net = seen(2)
    (later,) = leak.later
    short = replace(leak, later=(Observation(dict(list(later.state.items())[1:]), later.gradients),))
    with pytest.raises(LeakError, match=r"observation 2, state: first.weight is missing"):
        Victim(net).require_fit(short)


def test_several_draws_of_noise_tell_more_than_one_and_one_draw_repeated_does_not(
    seen: Callable, make_images: Callable
) -> None:
    """Noise averages out: at equal gradients four rounds leave a quarter of one's error, unless they say the same.

    The network's first layer is linear, so that each of its rows holds the image and its own noise.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 24), nn.Sigmoid(), nn.Linear(24, 5)).double()
    generator = torch.Generator().manual_seed(0)
    for value in net.parameters():
        drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        value.data.copy_((0.1 if value.shape[-1] == 108 else 0.5) * drawn)  # no sigmoid saturates
    originals = make_images(1, seed=9, dtype=torch.float64)

    def error(count: int, *, anew: bool) -> float:
        leak, _ = seen(count, net=net, move=0.01, noise=(0.002, 1, anew))
        objective = Objective(Victim(net), SquaredL2(), [])
        given = objective.given(leak, LABELS[:1])

        def evaluate(pixels: np.ndarray) -> tuple[float, np.ndarray]:
            value, (slope,), _ = objective.evaluate([torch.from_numpy(pixels).reshape(originals.shape)], given)
            return value.item(), slope.flatten().numpy()

        # SciPy's, so that no optimizer of ours decides; from four states the last line search may go beyond its share.
        options = {"maxfun": 200 // count, "maxcor": 30, "ftol": 0, "gtol": 0}
        found = minimize(evaluate, np.zeros(108), jac=True, method="L-BFGS-B", options=options)
        return float((torch.from_numpy(found.x).reshape(originals.shape) - originals).square().mean())

    one, four, repeated = error(1, anew=True), error(4, anew=True), error(4, anew=False)
    assert one < 1e-4  # where one round has found the image but for the noise, more evaluations would not help it
    assert four < one / 2
    assert repeated > 0.8 * one
