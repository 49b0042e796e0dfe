"""The objective of an attacker who knows the defense: a candidate's update is transformed before it is compared."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching import programs
from gradinv.attacks.gradient_matching.distances import CosineDistance, Distance, SquaredL2
from gradinv.attacks.gradient_matching.evaluation import Engine, InChunks, InTurn
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.priors import BatchNormStatistics
from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim

CLIPPED, MASKED = "clipped[max_norm=0.01]", "masked"
each_transform = pytest.mark.parametrize("transform", [CLIPPED, MASKED])


@pytest.fixture(autouse=True)
def empty_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is left from another test."""
    monkeypatch.setattr(programs, "_programs", programs.OrderedDict())


def defended(leak: Leak, transform: str) -> Leak:
    """The leak as the defense would have sent it, for an attacker who knows that."""
    values = leak.gradients
    if transform == CLIPPED:
        norm = torch.stack([value.norm() for value in values.values()]).norm()
        sent = {name: value * (0.01 / norm) for name, value in values.items()}
    else:
        sent = {name: value * (value.abs() > value.abs().median()) for name, value in values.items()}
    return replace(leak, gradients=sent, transform=transform)


def value_at(images: Tensor, leak: Leak, victim: Victim, *, transform: str) -> float:
    objective = Objective(victim, SquaredL2(), [], transform=transform)
    with objective.ready():
        return objective.evaluate([images], objective.given(leak, leak.labels))[0].item()


@each_transform
def test_only_who_knows_the_defense_finds_the_private_batch_at_distance_zero(
    case: Callable, make_images: Callable, transform: str
) -> None:
    leak, victim = case(bn=False, statistics="none")
    originals, seen = make_images(2, seed=9), defended(leak, transform)
    assert value_at(originals, seen, victim, transform=transform) == pytest.approx(0, abs=1e-9)
    assert value_at(originals, seen, victim, transform="") > 1e-3


@each_transform
@pytest.mark.parametrize("distance", [SquaredL2(), CosineDistance()], ids=["squared", "cosine"])
def test_a_program_transforms_as_autograd_does(
    case: Callable, make_images: Callable, transform: str, distance: Distance
) -> None:
    leak, victim = case(bn=False, statistics="none")
    objective = Objective(victim, distance, [], transform=transform)
    given = [objective.given(defended(leak, transform), leak.labels)] * 2
    points = [torch.stack([make_images(2, seed=seed) for seed in (1, 2)])]
    with objective.ready():
        value, (slope,), _ = InChunks(objective, points, given, Engine(together=2))(points, [False] * 2)
        expected, (expected_slope,), _ = InTurn(objective, given)(points, [False] * 2)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-3, atol=1e-5)


def test_trials_of_a_pack_may_know_different_defenses(case: Callable) -> None:
    leak, victim = case(bn=False, statistics="none")
    leaks = [leak, defended(leak, CLIPPED), defended(leak, MASKED), defended(leak, CLIPPED)]
    attack = create_attack("inverting_gradients")
    attack.engine = Engine(together=4)
    packed = attack.reconstruct_together(leaks, victim, seeds=range(4), budget=10)
    for seed, (seen, reconstruction) in enumerate(zip(leaks, packed, strict=True)):
        assert torch.equal(reconstruction.images, attack.reconstruct(seen, victim, seed=seed, budget=10).images)


def test_knowing_masking_changes_the_path_and_blindness_does_not_look(case: Callable) -> None:
    leak, victim = case(bn=False, statistics="none")
    seen, attack = defended(leak, MASKED), create_attack("inverting_gradients")
    adaptive, plain = (attack.reconstruct(x, victim, seed=0, budget=10) for x in (seen, replace(seen, transform="")))
    assert adaptive.curve != plain.curve
    blind = attack.prior_only()
    runs = [blind.reconstruct(x, victim, seed=0, budget=10) for x in (seen, replace(seen, transform=""))]
    assert runs[0].curve == runs[1].curve


@pytest.mark.parametrize("local", ["lr=0.1", "epochs=2,lr=0.1,minibatch=1", "epochs=9,lr=0.1,minibatch=1"])
def test_over_several_steps_statistics_are_of_the_whole_batch_under_the_weights_that_were_sent_out(
    make_net: Callable, make_images: Callable, make_leak: Callable, local: str
) -> None:
    """Else neither distance nor prior would be zero at the private batch."""
    net, images, labels = make_net(dtype=torch.float64), make_images(2, dtype=torch.float64), torch.tensor([3, 1])
    victim = Victim(net, update=f"weight_update[{local}]")
    sent = dict(zip(victim.parameter_names, (v.detach() for v in victim.update(images, labels)), strict=True))
    leak = replace(make_leak(net, images, labels, statistics="exact"), gradients=sent)
    objective = Objective(victim, SquaredL2(), [BatchNormStatistics(1.0)])
    given = objective.given(leak, labels)
    with objective.ready():
        assert objective.evaluate([images], given)[0].item() < 1e-12
        value, slopes, _ = objective.evaluate([images + 0.1], given)
        by_func, func_slopes, _ = objective.functional([images + 0.1], given, victim.state)
    assert value.item() > 1e-3
    torch.testing.assert_close(by_func, value)
    torch.testing.assert_close(func_slopes[0], slopes[0])
