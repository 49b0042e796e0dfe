"""R-GAP walks chains of convolutions back exactly, tells by its rank where it cannot, proves only what is unique."""

import pytest
import torch
from torch import nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.chain import NoChainError, find_chain
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient
from gradinv.benchmark.victims.literature import LeakyConvNet
from gradinv.benchmark.victims.networks import build_network

SIZES = {"num_classes": 10, "img_size": 16, "in_chans": 3}
WIDE = ((12, 4, 2, 1), (20, 3, 2, 1))
NARROW = ((4, 3, 2, 1), (8, 3, 2, 1))


def network(convolutions, seed=0):
    torch.manual_seed(seed)
    return LeakyConvNet(convolutions, **SIZES)


def reason(module, batch_size=1, size=16):
    conditions = Conditions(
        ThreatModel(), batch_size, num_classes=10, bn_layers=0, trained=False, image_size=size, network=module
    )
    return create_attack("r_gap").reason_to_skip(conditions)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: network(WIDE), 16),
        (lambda: network(WIDE, 1), 16),
        (lambda: "lenet_dlg", 16),
        (lambda: "lenet_dlg", "12x16"),
    ],
)
def test_at_full_rank_the_image_is_exact_and_proved(private, make, size):
    """Also of DLG's LeNet, with its biases and sigmoids, which the paper leaves out."""
    batch = private(make(), size=size)
    result = create_attack("r_gap").reconstruct(batch.leak, batch.victim, seed=0)
    assert batch.psnr(result) > 200
    assert result.certified.tolist() == [True]
    assert result.labels.tolist() == batch.labels.tolist()
    assert result.notes[0].startswith("security index: rank ")
    assert "no unique" not in result.notes[0]


def test_at_deficient_rank_it_warns_and_an_update_that_is_met_proves_nothing(private):
    batch = private(network(NARROW), size=16)
    result = create_attack("r_gap").reconstruct(batch.leak, batch.victim, seed=0)
    assert result.notes == ("security index: rank 348 of 768 at 0.weight, no unique solution",)
    assert batch.psnr(result) < 25
    assert result.certified.tolist() == [False]


def test_noise_gives_nothing_and_another_image_itself(private):
    batch, other = private(network(WIDE), size=16), private(network(WIDE), size=16, repetition=1)
    noise, others = (
        create_attack("r_gap").reconstruct(leak, batch.victim, seed=0)
        for leak in (noise_gradient(batch.leak, 1), other.leak)
    )
    assert noise.certified.tolist() == [False]
    assert batch.psnr(others) < 30 < 100 < other.psnr(others)
    assert others.certified.tolist() == [True]


def test_what_makes_it_impossible_is_said():
    assert reason(network(WIDE)) is None
    assert "of several" in reason(network(WIDE), batch_size=2)
    assert reason(network(NARROW)) == "no unique solution: 0.weight gives 364 equations for 768 unknowns"
    assert reason(build_network("cnn3_rgap", num_classes=10, image_size=16)) is None
    assert "no plain chain" in reason(build_network("test_resnet", num_classes=10, image_size=16))
    head = nn.Linear(16, 10)
    for layer in (nn.ReLU(), nn.MaxPool2d(2)):
        size = 16 if isinstance(layer, nn.ReLU) else 4
        module = nn.Sequential(nn.Conv2d(3, 1, 4, 4), layer, nn.Flatten(), nn.Linear(size, 10)).eval()
        with pytest.raises(NoChainError, match=f"{type(layer).__name__} 1 cannot be walked back"):
            find_chain(module, (3, 16, 16))
    with pytest.raises(NoChainError, match="no convolution"):
        find_chain(nn.Sequential(nn.Flatten(), head), (1, 4, 4))
