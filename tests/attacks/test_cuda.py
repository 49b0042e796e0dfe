"""On a GPU an attack does what it does on the CPU, up to rounding."""

import pytest
import torch

from attacks.leak import ThreatModel
from attacks.registry import create_attack
from attacks.victim import Victim
from benchmark.client import client_update, observe
from benchmark.datasets import create_dataset
from benchmark.datasets.batches import draw_batch
from benchmark.defenses import create_defense
from benchmark.networks import build_network
from benchmark.normalisation import normalise

pytestmark = pytest.mark.cuda
KEYS = [
    "dlg",
    "idlg",
    "inverting_gradients",
    "gradinversion.no_bn[alpha_noise=0.0]",
    "gradinversion[agents=2,alpha_bn=0.0,alpha_noise=0.0,group_start=0.0]",
]


def reconstruct(key, device, budget):
    dataset = create_dataset("photos")
    batch = draw_batch(dataset, repetition=0, batch_size=2)
    module = build_network("lenet_dlg", num_classes=8, image_size=32, untrained=True).to(device)
    victim = Victim(module)
    images = normalise(batch.images, dataset.mean, dataset.std).to(device)
    update = client_update(
        module, images, batch.labels.to(device), bn_mode="eval", defense=create_defense("none"), seed=0
    )
    leak = observe(update, victim, batch, ThreatModel(), 8, dataset.mean, dataset.std)
    return create_attack(key).reconstruct(leak, victim, seed=0, budget=budget)


@pytest.mark.parametrize("key", KEYS)
def test_the_first_steps_agree_with_the_cpu(key):
    on_cpu, on_cuda = reconstruct(key, "cpu", 6), reconstruct(key, "cuda", 6)
    assert on_cuda.images.device.type == "cuda"
    assert on_cuda.objective_start == pytest.approx(on_cpu.objective_start, rel=1e-3)


def test_equal_seeds_start_from_equal_images():
    first, second = (reconstruct("inverting_gradients", device, 1).images.cpu() for device in ("cpu", "cuda"))
    assert torch.equal(first, second)
