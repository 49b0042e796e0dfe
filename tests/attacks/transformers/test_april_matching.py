"""APRIL by optimisation: plain matching with weight 0, an image from its gradient and none from another's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching import Engine, programs
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.experiment.controls import noise_gradient
from gradinv.benchmark.victims.networks import build_network

LABEL = torch.tensor([3])


def conditions(network: nn.Module | None, **granted: Any) -> Conditions:
    return Conditions(ThreatModel(**granted), 1, 5, bn_layers=0, trained=False, image_size=8, network=network)


def psnr(images: Tensor, original: Tensor) -> float:
    std = torch.tensor((0.25, 0.2, 0.3)).view(1, 3, 1, 1)
    return float(-10 * ((images - original) * std).square().mean().log10())


@pytest.mark.parametrize("batch", [1, 2])
def test_the_gradient_of_the_positions_is_that_of_the_tokens_of_several_images_their_sum(
    transformer: Callable, make_images: Callable, batch: int
) -> None:
    network, seen = transformer(), []
    network.pos_drop.register_forward_hook(lambda _, inputs, output: (output.retain_grad(), seen.append(output))[0])
    images, labels = make_images(batch, size=8), torch.tensor([3, 1])[:batch]
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    torch.testing.assert_close(seen[0].grad.sum(0, keepdim=True), network.pos_embed.grad)


def test_with_weight_0_it_is_gradient_matching_to_the_bit(
    transformer: Callable, photographs: Callable, make_leak: Callable
) -> None:
    network = transformer()
    leak, victim = make_leak(network, photographs(), LABEL), Victim(network)
    keys = ("april_matching.no_position", "inverting_gradients[distance=squared_l2,alpha_tv=0.0]", "april_matching")
    ours, plain, weighed = (create_attack(key).reconstruct(leak, victim, seed=2, budget=20) for key in keys)
    assert torch.equal(ours.images, plain.images)
    assert ours.curve == plain.curve
    assert weighed.objective_start > plain.objective_start


@pytest.mark.parametrize("key", ["april_matching", "april_matching[distance=cosine,position_distance=squared_l2]"])
def test_its_objective_has_the_gradient_of_a_finite_difference(
    transformer: Callable, make_images: Callable, make_leak: Callable, key: str
) -> None:
    network = transformer().double()
    images, candidate, step = (make_images(1, size=8, seed=seed, dtype=torch.float64) for seed in range(3))
    leak, victim = make_leak(network, images, LABEL), Victim(network)
    objective = create_attack(key).objective(victim, "")
    given = objective.given(leak, LABEL)
    with objective.ready():
        value, (slope,), _ = objective.evaluate([candidate], given)
        by_func, (func_slope,), _ = objective.functional([candidate], given, victim.state)
        ends = [float(objective.evaluate([candidate + sign * 1e-5 * step], given).value) for sign in (1, -1)]
    torch.testing.assert_close(value, by_func)
    torch.testing.assert_close(slope, func_slope)
    assert float((slope * step).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_the_image_comes_back_from_its_gradient_and_not_from_another(
    transformer: Callable, photographs: Callable, make_leak: Callable
) -> None:
    network, original = transformer(), photographs()
    victim = Victim(network)
    leak, other = make_leak(network, original, LABEL), make_leak(network, photographs(1), LABEL)
    attack = create_attack("april_matching")
    found, others, noise = (
        psnr(attack.reconstruct(sent, victim, seed=0, budget=300).images, original)
        for sent in (leak, other, noise_gradient(leak, 1))
    )
    assert found > 18
    assert others < 12
    assert noise < 12


def test_trials_side_by_side_share_one_program_and_find_the_same(
    transformer: Callable, photographs: Callable, make_leak: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[int] = []
    original = programs._traced
    monkeypatch.setattr(
        programs, "_traced", lambda o, width, *rest: (traced.append(width), original(o, width, *rest))[1]
    )
    network = transformer()
    victim = Victim(network)
    leaks = [make_leak(network, photographs(repetition), LABEL) for repetition in (0, 1)]
    alone = [create_attack("april_matching").reconstruct(leak, victim, seed=1, budget=3) for leak in leaks]
    for _ in range(2):
        attack = create_attack("april_matching")
        attack.engine = Engine(together=2)
        together = attack.reconstruct_together(leaks, victim, seeds=[1, 1], budget=3)
        assert [result.engine for result in together] == ["eager, 2 together"] * 2
        for one, other in zip(alone, together, strict=True):
            assert other.objective_end == pytest.approx(one.objective_end, rel=1e-4)
    assert traced == [2]


def test_it_is_skipped_where_no_positions_are_sent(transformer: Callable) -> None:
    attack, network = create_attack("april_matching"), transformer()
    assert attack.reason_to_skip(conditions(network)) is None
    assert attack.reason_to_skip(conditions(None)) is None
    network.pos_embed.requires_grad_(False)
    assert attack.reason_to_skip(conditions(network)) == (
        "the position embedding pos_embed is frozen, and its gradient is not sent"
    )
    for model in ("test_vit_relpos", "test_resnet"):
        other = build_network(model, num_classes=5, image_size=32)
        assert "needs an absolute position embedding" in attack.reason_to_skip(conditions(other))
        assert create_attack("april_matching.no_position").reason_to_skip(conditions(other)) is None


def test_lengths_of_the_positions_gradient_need_the_scale_of_the_training(transformer: Callable) -> None:
    network = transformer()
    granted = {"update": "weight_update[lr=0.01]", "simulation": "none"}
    for key, possible in (("cosine", True), ("squared_l2", False)):
        attack = create_attack(f"april_matching[distance=cosine,position_distance={key}]")
        reason = attack.reason_to_skip(conditions(network, **granted))
        assert reason is None if possible else "needs the scale of the local training" in reason
