"""APRIL is exact in double precision, and is skipped where its equation does not hold or has no unique solution."""

import pytest
import torch
from torch import nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.april import find_bare_attention
from gradinv.attacks.exact.closed_form import NoEquationError
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient
from gradinv.benchmark.victims.literature import AprilViT
from gradinv.benchmark.victims.networks import build_network

SIZES = {"num_classes": 10, "img_size": 32, "in_chans": 3}


def reason(network: nn.Module, batch_size: int = 1) -> str | None:
    conditions = Conditions(
        ThreatModel(), batch_size, num_classes=10, bn_layers=0, trained=False, image_size=32, network=network
    )
    return create_attack("april").reason_to_skip(conditions)


@pytest.mark.parametrize(("seed", "size"), [(0, 32), (1, "24x32")])
def test_double_precision_gives_the_image_and_proves_it(private, seed, size):
    batch = private("vit_april", repetition=seed, seed=seed, size=size)
    result = create_attack("april").reconstruct(batch.leak, batch.victim, seed=0)
    assert batch.psnr(result) > 100
    assert result.certified.tolist() == [True]
    assert result.labels.tolist() == batch.labels.tolist()


def test_single_precision_gives_some_twenty_decibels_and_proves_nothing(private):
    found = []
    for repetition in range(3):
        batch = private("vit_april", repetition=repetition, seed=repetition, dtype=torch.float32)
        result = create_attack("april").reconstruct(batch.leak, batch.victim, seed=0)
        found.append(batch.psnr(result))
        assert result.certified.tolist() == [False]
    assert 15 < sum(found) / 3 < 40


def test_noise_and_another_image_give_nothing_of_ours(private):
    batch, other = private("vit_april"), private("vit_april", repetition=1)
    noise, others = (
        create_attack("april").reconstruct(leak, batch.victim, seed=0)
        for leak in (noise_gradient(batch.leak, 1), other.leak)
    )
    assert noise.certified.tolist() == [False]
    assert batch.psnr(noise) < 10
    assert others.certified.tolist() == [True]
    assert batch.psnr(others) < 30 < 100 < other.psnr(others)


def with_skip(network: nn.Module) -> nn.Module:
    attention = network.blocks[0].attn

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = attention

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return tokens + self.inner(tokens)

    network.blocks[0].attn = Around()
    return network


def with_norm(network: nn.Module) -> nn.Module:
    network.blocks[0].norm1 = nn.LayerNorm(192)
    return network


def test_the_four_reasons_to_skip():
    torch.manual_seed(0)
    assert reason(AprilViT(**SIZES)) is None
    assert "of one image" in reason(AprilViT(**SIZES), batch_size=2)
    assert reason(with_norm(AprilViT(**SIZES))) == "a LayerNorm stands between the embeddings and the first attention"
    assert "by a skip around it" in reason(with_skip(AprilViT(**SIZES)))
    # One block with a class token: only its query reaches the loss, and rank 2 heads + 1 is left.
    assert "has rank 7 for 65 tokens" in reason(AprilViT(**SIZES, depth=1))


def test_every_stock_transformer_is_skipped_and_so_is_a_network_without_patches():
    assert "a LayerNorm stands" in reason(build_network("test_vit", num_classes=10, image_size=32))
    with pytest.raises(NoEquationError, match="needs a patch embedding"):
        find_bare_attention(build_network("lenet_dlg", num_classes=10, image_size=32), (3, 32, 32))
