"""The patch embedding gives the image of stock vision transformers away, in single precision, with proof."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.patch_embedding import solved
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient
from gradinv.benchmark.victims.networks import build_network

EPS = torch.finfo(torch.float64).eps


def reason(network: nn.Module, batch_size: int = 1, size: int = 32, update: str = "gradient") -> str | None:
    threat_model = ThreatModel(update=update)
    conditions = Conditions(threat_model, batch_size, 10, bn_layers=0, trained=False, image_size=size, network=network)
    return create_attack("patch_embedding").reason_to_skip(conditions)


def small(**changes) -> nn.Module:
    torch.manual_seed(0)
    settings = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 10}
    return VisionTransformer(**settings | changes).eval()


@pytest.mark.parametrize(
    ("model", "size"), [("test_vit", 32), ("test_vit", "32x48"), ("pit_ti_224", 32), ("cait_xxs24_224", 32)]
)
def test_stock_transformers_give_the_image_away_in_single_precision(private, model, size):
    batch = private(model, size=size, dtype=torch.float32)
    assert reason(batch.victim.module, size=size) is None
    result = create_attack("patch_embedding").reconstruct(batch.leak, batch.victim, seed=0)
    assert batch.psnr(result) > 90
    assert result.certified.tolist() == [True]
    assert result.labels.tolist() == batch.labels.tolist()


def test_double_precision_is_exact_and_clipping_stops_nothing(private):
    batch = private("test_vit")
    for leak in (batch.leak, batch.defended("clipping[max_norm=0.1]")):
        result = create_attack("patch_embedding").reconstruct(leak, batch.victim, seed=0)
        assert batch.psnr(result) > 200
        assert result.certified.tolist() == [True]


def test_noise_and_another_image_give_nothing_of_ours(private):
    batch, other = private("test_vit"), private("test_vit", repetition=1)
    noise, others = (
        create_attack("patch_embedding").reconstruct(leak, batch.victim, seed=0)
        for leak in (noise_gradient(batch.leak, 1), other.leak)
    )
    assert noise.certified.tolist() == [False]
    black = float(-10 * batch.images.square().mean().log10())  # of a dark photograph; what least squares makes of noise
    assert batch.psnr(noise) < black + 1
    assert others.certified.tolist() == [True]
    assert batch.psnr(others) < 30 < 100 < other.psnr(others)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"kernel_size": 4, "stride": 4}, (3, 8, 12)),
        ({"kernel_size": 4, "stride": 2}, (3, 8, 8)),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, (1, 7, 9)),
        ({"kernel_size": 2, "stride": 1, "dilation": 2}, (2, 4, 5)),
    ],
)
@pytest.mark.parametrize("layout", ["tokens", "maps", "last"])
def test_the_equation_is_that_of_the_layer(settings, shape, layout):
    """Of a random image and random gradients of the layer's output, by autograd."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(shape[0], 64, **settings).double()
    image = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    output = layer(image)
    upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    (weight,) = torch.autograd.grad(output, [layer.weight], upstream)
    tokens = torch.cat([torch.ones(1, 1, 64, dtype=torch.float64), upstream.flatten(2).transpose(1, 2)], dim=1)
    positions = {"tokens": tokens, "maps": upstream, "last": upstream.permute(0, 2, 3, 1)}[layout]
    found = solved(layer, weight, positions, shape, EPS)
    torch.testing.assert_close(found, image[0], rtol=1e-9, atol=1e-9)


def frozen(name: str) -> nn.Module:
    network = small()
    network.get_parameter(name).requires_grad_(False)
    return network


def test_the_reasons_to_skip():
    assert reason(small(depth=2), size=16) is None
    assert "of one image" in reason(small(), batch_size=2, size=16)
    assert "solves for what one gradient is of" in reason(small(), size=16, update="weight_update[lr=0.01]")
    assert reason(small(embed_dim=8, depth=2), size=16) == (
        "the positions' gradient has rank 7 for 16 patches: no unique solution"
    )
    assert reason(frozen("patch_embed.proj.weight"), size=16) == (
        "the patch embedding is frozen, and its gradient is not sent"
    )
    added = "no trained parameter is added to the patches, as learnt positions are"
    assert reason(frozen("pos_embed"), size=16) == added
    assert reason(build_network("test_resnet", num_classes=10, image_size=32)) == added
    assert "the network begins with" in reason(build_network("mlp_cpa", num_classes=10, image_size=32))
    unseen = nn.Sequential(nn.Conv2d(3, 8, 4, stride=5), nn.Flatten(), nn.Linear(8 * 36, 10))
    assert reason(unseen) == "some pixels are seen by no patch, and nothing is known of them"
    grouped = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4, groups=3), nn.Flatten(), nn.Linear(6 * 64, 10))
    assert reason(grouped) == "the first convolution is grouped or pads otherwise than by zeros"
