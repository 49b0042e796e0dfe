"""Networks: seeded, not degenerate, differentiable twice, with the stem that was asked for."""

import pytest
import timm
import torch
from torch import nn

from gradinv.benchmark.victims.networks import HardSigmoid, HardSwish, VictimError, build_network
from gradinv.metrics.image_size import ImageSize, sides
from gradinv.metrics.registry import UnknownNameError


def build(model: str, **options) -> nn.Module:
    return build_network(model, **({"num_classes": 4, "image_size": 32, "untrained": True} | options))


def test_the_seed_decides_the_weights_and_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, same, second = (build("test_resnet", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["fc.weight"], second["fc.weight"])


def test_networks_come_in_eval_mode() -> None:
    assert not any(module.training for module in build("test_resnet").modules())


def test_untrained_residual_blocks_start_with_live_normalisations() -> None:
    network = build("resnet18", untrained=True)
    zeroed = build("resnet18", untrained=False)
    assert network.layer1[0].bn2.weight.all()
    assert not zeroed.layer1[0].bn2.weight.any()


def test_an_unknown_model_is_named_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*resnet18"):
        build("resnet_18")


def test_a_tag_is_part_of_a_valid_name() -> None:
    assert build("resnet18.a1_in1k").num_classes == 4


def test_images_that_a_model_cannot_take_are_one_clear_line() -> None:
    with pytest.raises(VictimError, match="inception_v3 cannot be built for 32 x 32 images: ") as caught:
        build("inception_v3")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["resnet18", "vit_tiny_patch16_224", "mlp_cpa", "cnn6_rgap", "vit_april"])
def test_networks_take_images_that_are_not_square(model: str) -> None:
    assert build(model, image_size="32x48")(torch.zeros(2, 3, 32, 48)).shape == (2, 4)


def test_a_network_that_takes_squares_only_is_one_clear_line() -> None:
    with pytest.raises(
        VictimError, match="nest_tiny cannot be built for 64 x 96 images: Model only handles square inputs"
    ) as caught:
        build("nest_tiny", image_size="64x96")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [32, 33, 28, 64, "28x33"])
def test_lenet_takes_any_size(size: ImageSize) -> None:
    network = build("lenet_dlg", image_size=size)
    assert network(torch.zeros(2, 3, *sides(size))).shape == (2, 4)
    assert network.get_classifier() is network.fc


def test_lenet_is_the_papers() -> None:
    network = build("lenet_dlg", num_classes=100)
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    assert shapes == [(12, 3, 5, 5), (12,), (12, 12, 5, 5), (12,), (12, 12, 5, 5), (12,), (100, 768), (100,)]
    for parameter in network.parameters():
        assert parameter.abs().max() <= 0.5
        assert parameter.abs().max() > 0.3
    assert timm.is_model("lenet_dlg")


def test_convnet64_is_the_papers() -> None:
    network = build("convnet64", num_classes=10)
    # As breaching 0.1.2 reports of its own: 2,904,970 parameters and 3,208 numbers in buffers.
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_904_970
    assert sum(buffer.numel() for buffer in network.buffers()) == 3_208
    assert [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)] == [64, 128, 128] + 5 * [
        256
    ]
    assert network.get_classifier().in_features == 36 * 64


@pytest.mark.parametrize("size", [9, 28, 32, 64, "33x48"])
def test_the_convnet_takes_any_size_that_two_poolings_leave(size: ImageSize) -> None:
    assert build("convnet16", image_size=size)(torch.zeros(2, 3, *sides(size))).shape == (2, 4)


def test_images_that_the_convnet_pools_away_are_refused() -> None:
    with pytest.raises(VictimError, match=r"convnet16 cannot be built for 8 x 8 images: .*fewer than 9 pixels"):
        build("convnet16", image_size=8)


@pytest.mark.parametrize("model", ["lenet_dlg", "convnet64", "mlp_cpa"])
def test_networks_of_papers_have_no_pretrained_weights(model: str) -> None:
    with pytest.raises(VictimError, match="no pretrained weights"):
        build(model, pretrained=True)


@pytest.mark.parametrize(("model", "stride"), [("resnet18", 4), ("test_resnet", 4), ("resnet18d", 4)])
def test_the_cifar_stem_keeps_the_resolution(model: str, stride: int) -> None:
    default, cifar = build(model), build(model, stem="cifar")
    images = torch.zeros(1, 3, 32, 32)
    sides = [network.forward_features(images).shape[-1] for network in (default, cifar)]
    assert sides[1] == stride * sides[0]
    assert cifar(images).shape == (1, 4)


def test_the_cifar_stem_is_seeded() -> None:
    first, same = (build("resnet18", stem="cifar", seed=3).conv1.weight for _ in range(2))
    assert torch.equal(first, same)


def test_the_cifar_stem_refuses_other_families() -> None:
    with pytest.raises(VictimError, match="stem=cifar does not fit"):
        build("vit_tiny_patch16_224", stem="cifar")


@pytest.mark.parametrize(("replacement", "replaced"), [(HardSigmoid, nn.Hardsigmoid), (HardSwish, nn.Hardswish)])
def test_hard_activations_equal_pytorchs(replacement: type[nn.Module], replaced: type[nn.Module]) -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(replacement()(x), replaced()(x))


def test_swapped_activations_leave_the_function_as_it_was() -> None:
    network = build("mobilenetv3_small_050", untrained=False)
    original = timm.create_model("mobilenetv3_small_050", num_classes=4).eval()
    original.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images), original(images))
    assert not any(isinstance(module, nn.Hardsigmoid | nn.Hardswish) for module in network.modules())
