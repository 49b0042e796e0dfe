"""On a GPU an attack does what it does on the CPU, up to rounding."""

import pytest
import torch

from gradinv.attacks.gradient_matching.descent import Descent
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.datasets.batches import draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import client_update, observe
from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.normalisation import normalise

pytestmark = pytest.mark.cuda
KEYS = [
    "dlg",
    "idlg",
    "inverting_gradients",
    "gradinversion.no_bn[alpha_noise=0.0]",
    "gradinversion[agents=2,alpha_bn=0.0,alpha_noise=0.0,group_start=0.0]",
]


ENGINES = [Engine("captured"), Engine(together=3), Engine("captured", 3), Engine("compiled"), Engine("compiled", 3)]


def leaks_of(device, repetitions=(0,), model="lenet_dlg"):
    """Leaks of two photographs each, and their victim."""
    dataset = create_dataset("photos")
    module = build_network(model, num_classes=8, image_size=32, untrained=True).to(device)
    victim, leaks = Victim(module), []
    for repetition in repetitions:
        batch = draw_batch(dataset, repetition=repetition, batch_size=2)
        images, labels = normalise(batch.images, dataset.mean, dataset.std).to(device), batch.labels.to(device)
        defense = create_defense("none")
        update = client_update(module, images, labels, bn_mode="eval", defense=defense, seed=0)
        leaks.append(observe(update, victim, batch, ThreatModel(), defense, 8, dataset.mean, dataset.std))
    return leaks, victim


def reconstruct(key, device, budget):
    (leak,), victim = leaks_of(device)
    return create_attack(key).reconstruct(leak, victim, seed=0, budget=budget)


@pytest.mark.parametrize("key", KEYS)
def test_the_first_steps_agree_with_the_cpu(key):
    on_cpu, on_cuda = reconstruct(key, "cpu", 6), reconstruct(key, "cuda", 6)
    assert on_cuda.images.device.type == "cuda"
    assert on_cuda.objective_start == pytest.approx(on_cpu.objective_start, rel=1e-3)


def test_equal_seeds_start_from_equal_images():
    first, second = (reconstruct("inverting_gradients", device, 1).images.cpu() for device in ("cpu", "cuda"))
    assert torch.equal(first, second)


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("key", ["inverting_gradients", "gradinversion.no_bn[alpha_noise=0.0]", "dlg"])
@pytest.mark.parametrize("model", ["lenet_dlg", "test_resnet"])
def test_every_engine_goes_autograds_way_trial_after_trial(key, engine, model):
    """The second trial meets the program, or the graph, of the first with other inputs."""
    leaks, victim = leaks_of("cuda", (0, 1, 2), model)
    attack = create_attack(key)
    expected = [attack.reconstruct(leak, victim, seed=seed, budget=12) for seed, leak in enumerate(leaks)]
    attack.engine = engine
    result = attack.reconstruct_together(leaks, victim, seeds=range(3), budget=12)
    for actual, wanted in zip(result, expected, strict=True):
        assert actual.engine == str(engine)
        assert actual.objective_start == pytest.approx(wanted.objective_start, rel=1e-4)
        assert actual.curve[6][1] == pytest.approx(wanted.curve[6][1], rel=1e-2)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_coarser_arithmetic_is_near_and_said(precision):
    (leak,), victim = leaks_of("cuda", model="test_resnet")
    attack = create_attack("inverting_gradients")
    exact = attack.reconstruct(leak, victim, seed=0, budget=3)
    attack.engine = Engine("captured", precision=precision)
    coarse = attack.reconstruct(leak, victim, seed=0, budget=3)
    assert coarse.engine == f"captured, {precision}"
    assert coarse.objective_start == pytest.approx(exact.objective_start, rel=0.05)


def test_an_update_does_not_wait_for_the_device():
    leaks, victim = leaks_of("cuda")
    attack = create_attack("gradinversion.no_bn")
    attack.reconstruct(leaks[0], victim, seed=0, budget=3)
    before = torch.cuda.get_sync_debug_mode()
    step = Descent.step

    def watched(self):
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(self)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Descent, "step", watched)
        attack.reconstruct(leaks[0], victim, seed=0, budget=20)
