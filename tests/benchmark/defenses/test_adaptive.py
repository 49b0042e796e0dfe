"""Known breaks: the attack fails against a defense, and works once it does to its candidates what the defense did.

On the sigmoid LeNet, which gives a single image away undefended within these evaluations.
"""

import pytest
import torch
from torch import Tensor

from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.transforms import create_transform
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset, draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import client_update
from gradinv.benchmark.victims.networks import build_network

SIZE, HALF, QUARTER = 16, (0.5,) * 3, (0.25,) * 3


def psnr(defense_key: str, *, adaptive: bool) -> float:
    """PSNR (dB) of iDLG's reconstruction of one photograph after 200 evaluations."""
    dataset = create_dataset("photos", SIZE)
    batch = draw_batch(dataset, repetition=1, batch_size=1, max_equal_labels=1)
    module = build_network("lenet_dlg", num_classes=len(dataset.classes), image_size=SIZE, seed=0)
    defense, images = create_defense(defense_key), (batch.images - 0.5) / 0.25
    sent = client_update(module, images, batch.labels, bn_mode="eval", defense=defense, seed=0).sent
    threat_model = ThreatModel(labels="known", bn_statistics="none", adaptive=adaptive)
    transform = defense.known() if adaptive else ""
    shape = (3, SIZE, SIZE)
    leak = Leak(
        sent, 1, shape, len(dataset.classes), HALF, QUARTER, threat_model, labels=batch.labels, transform=transform
    )
    found = create_attack("idlg").reconstruct(leak, Victim(module), seed=1, budget=200).images
    return float(-10 * _error(found, images).log10())


def _error(found: Tensor, images: Tensor) -> Tensor:
    return (((found - images) * 0.25).clamp(-1, 1)).square().mean()


def test_undefended_the_image_leaks() -> None:
    assert psnr("none", adaptive=False) > 25


@pytest.mark.parametrize(
    "key", ["clipping[max_norm=0.1]", "clipping[max_norm=0.001]", "dp_sgd[max_norm=0.1,sigma=0]", "soteria[ratio=0.8]"]
)
def test_the_defense_holds_until_it_is_known(key: str) -> None:
    assert psnr(key, adaptive=False) < 11
    assert psnr(key, adaptive=True) > 18


def test_control_knowing_it_helps_nothing_where_the_update_is_gone() -> None:
    # Two entries of ten thousand are left: whoever masks his candidates still knows two numbers.
    assert psnr("top_k[k=2]", adaptive=True) < 11


@pytest.mark.parametrize("soft", [1e-3, 0.3])
def test_the_smooth_sign_ends_in_the_sign(soft: float) -> None:
    value = torch.randn(200, generator=torch.Generator().manual_seed(0))
    (smooth,) = create_transform(f"signed[size=0.5,softness={soft}]")([value], [])
    assert (smooth.abs() <= 0.5).all()
    assert torch.equal(smooth.sign(), value.sign())
    # Of the median, since an entry next to zero has a magnitude of neither at any softness.
    assert ((smooth - 0.5 * value.sign()).abs().median() < 1e-3) == (soft < 0.01)
