"""The surrogate between two sets of weights: at the first it is gradient matching, and its position is learnt."""

import copy
from dataclasses import replace

import pytest
import torch

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching import LBFGS, CosineDistance, GradientMatching
from gradinv.attacks.gradient_matching.parametrisations import Pixels
from gradinv.attacks.inverting_gradients import InvertingGradients
from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.surrogate_model import Line, SurrogateModel
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset, draw_batch

STEPS, RATE = 4, 0.0095
UPDATE = f"weight_update[epochs={STEPS},lr={RATE}]"


def weight_leak(module, images, labels, *, update=UPDATE, simulation="none"):
    """The weights before minus those after local training by torch's optimizer, and the attacker's victim."""
    network, settings = copy.deepcopy(module), ThreatModel(update=update, simulation=simulation, bn_statistics="none")
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    lengths = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        lengths.append(float(torch.stack([p.grad.norm() for p in network.parameters()]).norm()))
        optimizer.step()
    sent = {n: (v - w).detach() for (n, v), w in zip(module.named_parameters(), network.parameters(), strict=True)}
    classes = module(images).shape[1]
    leak = Leak(sent, len(images), tuple(images.shape[1:]), classes, (0.0,) * 3, (1.0,) * 3,
                settings.as_granted(), labels=labels)  # fmt: skip
    return leak, Victim(module, update=settings.known_update), lengths


@pytest.fixture
def client(make_net, make_images):
    return weight_leak(make_net(bn=False), make_images(2, seed=3), torch.tensor([3, 1]))


def test_before_the_local_training_it_is_matching_the_cosine_to_the_bit(client):
    leak, victim, _ = client
    surrogate = SurrogateModel(alpha_tv=1e-3, position=0.0, lr_position=0.0, lr=0.1)
    plain = InvertingGradients(alpha_tv=1e-3)
    surrogate.optimizer = plain.optimizer
    ours, theirs = (attack.reconstruct(leak, victim, seed=5, budget=40) for attack in (surrogate, plain))
    assert torch.equal(ours.images, theirs.images)
    assert ours.curve == theirs.curve


def test_the_position_is_learnt_at_its_own_rate_and_stays_between_the_ends():
    for start in (0.2, 0.5, 0.8):
        line = Line(start, rate=4e-3)
        variable = line.start(torch.zeros(1, dtype=torch.float64))
        assert float(line.position([variable])) == pytest.approx(start)
        moved = float(line.position([variable + 1])) - start
        assert moved == pytest.approx(4e-3 * start * (1 - start), rel=0.01)
    assert 0 < float(line.position([variable - 3000])) < 1e-3
    assert Line(0.0, rate=1.0).position([]) == 0.0


def test_its_objective_has_the_gradient_of_a_finite_difference(make_net, make_images):
    module = make_net(bn=False, dtype=torch.float64)
    leak, victim, _ = weight_leak(module, make_images(2, seed=3, dtype=torch.float64), torch.tensor([3, 1]))
    attack = SurrogateModel(position=0.3, lr_position=0.25)
    objective = attack.objective(victim, "")
    given = objective.given(leak, leak.labels)
    candidate = [make_images(2, dtype=torch.float64), attack.line.start(torch.zeros(1, dtype=torch.float64))]
    with objective.ready():
        value, slopes, _ = objective.evaluate(candidate, given)
        by_func, func_slopes, _ = objective.functional(candidate, given, victim.state)
        torch.testing.assert_close(value, by_func)
        for part, (slope, other) in enumerate(zip(slopes, func_slopes, strict=True)):
            torch.testing.assert_close(slope, other)
            step = torch.randn(slope.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            ends = [
                objective.evaluate([c + sign * 1e-5 * step if i == part else c for i, c in enumerate(candidate)], given)
                for sign in (1, -1)
            ]
            torch.testing.assert_close((slope * step).sum(), (ends[0][0] - ends[1][0]) / 2e-5, rtol=1e-5, atol=1e-9)


def test_a_gradient_has_no_other_end():
    possible = Conditions(ThreatModel(update=UPDATE, simulation="none"), 1, 10, 0, trained=False, image_size=16)
    assert SurrogateModel().reason_to_skip(possible) is None
    assert "both ends" in SurrogateModel().reason_to_skip(replace(possible, threat_model=ThreatModel()))


def test_a_direction_has_no_distance_but_the_cosine():
    asked = Conditions(ThreatModel(update=UPDATE, simulation="none"), 1, 10, 0, trained=False, image_size=16)
    scaled = replace(asked, threat_model=ThreatModel(update=UPDATE, simulation="weak"))
    for key in ("dlg", "idlg", "gradinversion.no_bn", "inverting_gradients", "gradinversion.cosine[alpha_bn=0.0]"):
        attack = create_attack(key)
        possible = key.startswith("inverting") or "cosine" in key
        assert (attack.reason_to_skip(asked) is None) == possible, key
        assert attack.reason_to_skip(scaled) is None, key


class Cosine(GradientMatching):
    """The effective gradient: the cosine at the weights from before."""

    def __init__(self) -> None:
        super().__init__(distance=CosineDistance(1e4), optimizer=LBFGS(), iterations=1, box=False)


def surrogate() -> SurrogateModel:
    """By L-BFGS, whose thresholds ask for an objective that is not below one."""
    attack = SurrogateModel(alpha_tv=0.0, lr_position=0.25)
    attack.distance, attack.optimizer, attack.parametrisation = CosineDistance(1e4), LBFGS(), Pixels(box=False)
    return attack


@pytest.mark.parametrize(("image", "network", "most"), [(2, 2, 20), (8, 28, 11)])
def test_who_knows_more_of_the_local_training_sees_more(build, image, network, most):
    """The sigmoid LeNet, one image, four steps none of which saturates: effective < surrogate < unrolled, in dB."""
    dataset = create_dataset("photos", 16)
    batch = draw_batch(dataset, repetition=image, batch_size=1)
    images = batch.images.double()
    module = build("lenet_dlg", classes=len(dataset.classes), seed=network).double()
    psnr = []
    for attack, simulation in ((Cosine(), "none"), (surrogate(), "none"), (create_attack("idlg"), "strong")):
        leak, victim, lengths = weight_leak(module, images, batch.labels, simulation=simulation)
        assert lengths[-1] >= lengths[0] / 2  # else it would be a single step in all but name
        returned = attack.reconstruct(leak, victim, seed=image, budget=350).images
        psnr.append(float(-10 * (returned.clamp(0, 1) - images).square().mean().log10()))
    effective, between, unrolled = psnr
    assert effective < most
    assert between > max(15, effective + 3)
    assert unrolled > max(30, between + 3)
