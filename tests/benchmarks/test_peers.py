"""breaching as an attack of ours, by the plug-in beside the board `peers`: counted, seeded, granted and recovering."""

from pathlib import Path

import pytest
import torch

from gradinv.attacks.gradient_matching.priors import Candidate, TotalVariation
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.datasets.batches import draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import client_update, observe
from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.normalisation import denormalise, normalise
from gradinv.metrics.registry import load_plugin

PLUGIN = Path(__file__).parents[2] / "leaderboards" / "peers.py"
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
INVERTING, GRADINVERSION = "breaching_inverting_gradients", "breaching_gradinversion"

pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def with_every_benchmark(benchmark):
    """So that `--benchmark-only` runs these tests too."""


@pytest.fixture(scope="module")
def plugin():
    pytest.importorskip("breaching", reason="breaching is not installed: pip install 'gradinv[peers]'")
    return load_plugin(PLUGIN)


@pytest.fixture
def experiment(plugin):
    """`experiment(model, ...)`: photographs in [0, 1], their leak (or that `of_another` batch) and the victim."""

    def make(model="lenet_dlg", *, size=16, batch=1, of_another=False, **granted):
        dataset = create_dataset("photos", size)
        network = build_network(model, num_classes=len(dataset.classes), image_size=size, untrained=True)
        drawn = draw_batch(dataset, repetition=0, batch_size=batch)
        threat_model = ThreatModel(**{"bn_statistics": "none"} | granted)
        # Another photograph under the same label: of a class `photos` has views of one photograph alone.
        sent = draw_batch(dataset, repetition=1, batch_size=batch) if of_another else drawn
        images, defense = normalise(sent.images.to(threat_model.dtype), MEAN, STD), create_defense("none")
        network.to(threat_model.dtype)
        mode = threat_model.bn_mode
        update = client_update(network, images, drawn.labels, bn_mode=mode, defense=defense, seed=0)
        victim = Victim(network, bn_mode=mode)
        leak = observe(update, victim, drawn, threat_model, defense, len(dataset.classes), MEAN, STD)
        return drawn.images, leak, victim

    return make


CASES = [
    (INVERTING, "lenet_dlg", {}),
    (INVERTING, "test_resnet", {"bn_mode": "train"}),
    (f"{GRADINVERSION}.no_bn", "lenet_dlg", {"client_precision": "float64"}),
    (GRADINVERSION, "test_resnet", {"bn_statistics": "exact"}),
    (GRADINVERSION, "test_resnet", {"bn_statistics": "exact", "bn_mode": "train"}),
]


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize(("key", "model", "granted"), CASES)
def test_the_victim_counts_what_is_said_to_be_spent(experiment, key, model, granted, blind):
    _, leak, victim = experiment(model, batch=2, **granted)
    attack = create_attack(key)
    attack = attack.prior_only() if blind else attack
    for budget in (2, 7):
        victim.evaluations.restart()
        result = attack.reconstruct(leak, victim, seed=0, budget=budget)
        assert result.evaluations == victim.evaluations.spent == budget
        # One of them scores the result, and blind to the update there is nothing to score by.
        assert result.curve[-1][0] == (budget if blind else budget - 1)


@pytest.mark.parametrize(("key", "model", "granted"), CASES)
def test_nothing_of_the_victim_or_the_leak_is_changed(experiment, key, model, granted):
    _, leak, victim = experiment(model, batch=2, **granted)
    victim.bn_statistics(
        torch.zeros(leak.shape, dtype=leak.threat_model.dtype)
    )  # a first pass takes a hook of ours away
    tensors = {**victim.state, **{f"gradient {name}": value for name, value in leak.gradients.items()}}
    before = {name: value.clone() for name, value in tensors.items()}
    modules = [(module, module.training, len(module._forward_hooks)) for module in victim.module.modules()]
    drawn = torch.get_rng_state()
    create_attack(key).reconstruct(leak, victim, seed=0, budget=4)
    assert all(torch.equal(value, before[name]) for name, value in tensors.items())
    assert modules == [(module, module.training, len(module._forward_hooks)) for module, *_ in modules]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in victim.parameters)
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize(("key", "model", "granted"), CASES)
def test_the_seed_decides_every_bit(experiment, key, model, granted):
    _, leak, victim = experiment(model, batch=2, **granted)
    attack = create_attack(key)
    first, again, other = (attack.reconstruct(leak, victim, seed=seed, budget=12) for seed in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert first.curve == again.curve
    assert not torch.equal(first.images, other.images)
    assert first.images.dtype == leak.threat_model.dtype


def test_its_objective_is_zero_at_the_private_images_and_nowhere_near_them(experiment):
    for key in (INVERTING, f"{GRADINVERSION}.no_bn[alpha_grad=1.0]"):
        originals, leak, victim = experiment("test_resnet", batch=2, client_precision="float64")
        attacker = create_attack(key).attacker(leak, victim, 1)
        server, client = load_plugin(PLUGIN).payloads(leak)
        (network,), labels, _ = attacker.prepare_attack(server, client)
        attacker.objective.initialize(attacker.loss_fn, attacker.cfg.impl)
        images = normalise(originals.double(), MEAN, STD).requires_grad_(True)
        at = [
            float(attacker.objective(network, client[0]["gradients"], candidate, labels)[0].detach())
            for candidate in (images, originals.double().requires_grad_(True))
        ]
        assert at[0] < 1e-12
        assert at[1] > 1e-3


def test_the_statistics_it_compares_with_are_those_granted(experiment):
    plugin = load_plugin(PLUGIN)
    originals, exact, victim = experiment("test_resnet", batch=2, bn_statistics="exact")
    _, running, _ = experiment("test_resnet", batch=2, bn_statistics="running")
    penalties = []
    for leak in (exact, running):
        attacker = create_attack(GRADINVERSION).attacker(leak, victim, 1)
        with plugin.granted_statistics(attacker, leak, victim):
            (term,) = [term for term in attacker.regularizers if hasattr(term, "losses")]
            images = normalise(originals, MEAN, STD)
            victim.module(images)
            penalties.append(float(term(images).detach()))
    # breaching reads the layers' own buffers, which are the running ones whatever is granted.
    assert penalties[0] < 1e-4
    assert penalties[1] > 0.1


def test_images_stay_in_the_pixel_box_of_the_victims_normalisation(experiment):
    _, leak, victim = experiment(batch=2)
    images = create_attack(INVERTING).reconstruct(leak, victim, seed=0, budget=10).images
    pixels = images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert float(pixels.min()) > -1e-6
    assert float(pixels.max()) < 1 + 1e-6
    assert float(pixels.min()) < 1e-6  # normal draws lie outside of it at both ends


@pytest.mark.parametrize(
    ("key", "least"),
    [(f"{INVERTING}[alpha_tv=0.001]", 20), (f"{GRADINVERSION}.no_bn[alpha_grad=1.0,alpha_noise=0.0]", 15)],
)
def test_on_the_sigmoid_lenet_it_recovers_the_photograph_and_from_anothers_it_does_not(experiment, key, least):
    found = []
    for of_another in (False, True):
        originals, leak, victim = experiment(of_another=of_another)
        images = create_attack(key).reconstruct(leak, victim, seed=0, budget=400).images
        found.append(float(-10 * (denormalise(images, MEAN, STD) - originals).square().mean().log10()))
    assert found[0] > least
    assert found[1] < 10


def test_the_iterate_that_it_returns_is_the_one_after_the_best_objective(experiment):
    _, leak, victim = experiment()
    result = create_attack(INVERTING).reconstruct(leak, victim, seed=0, budget=2)  # one iteration, from the start
    start = torch.randn(leak.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(result.images, result.final)
    assert (result.images - start).abs().max() > 0.09  # a step of sign-Adam is the learning rate, 0.1


def test_its_total_variation_is_ours_and_the_border_to_zeros(plugin):
    from breaching.attacks.auxiliaries.regularizers import TotalVariation as TheirTotalVariation

    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    theirs = TheirTotalVariation({"device": torch.device("cpu"), "dtype": torch.float}, scale=1.0)(images)
    inner = sum((images.diff(dim=dim).abs().sum() for dim in (-1, -2)), torch.zeros(()))
    border = images[..., -1].abs().sum() + images[..., -1, :].abs().sum()
    assert float(theirs) == pytest.approx(float(inner + border) / images.numel(), rel=1e-5)
    # Means over one row fewer: the same prior at the same weight, up to the border.
    assert TotalVariation(1.0)(Candidate(images)).item() == pytest.approx(float(inner) / (2 * 3 * 8 * 7), rel=1e-5)


def test_without_its_border_its_total_variation_is_ours(experiment):
    _, leak, victim = experiment()
    images = torch.randn(leak.shape, generator=torch.Generator().manual_seed(0))
    penalties = []
    for key in (INVERTING, f"{INVERTING}[border=false]"):
        (term,) = create_attack(key).attacker(leak, victim, 1).regularizers
        penalties.append(float(term(images)))
    assert penalties[1] == pytest.approx(0.2 * TotalVariation(1.0)(Candidate(images)).item(), rel=1e-6)
    assert penalties[0] != pytest.approx(penalties[1], rel=1e-3)
