"""Victims of many families survive the step that every gradient-matching attack takes: a gradient of gradients."""

from typing import Any, NamedTuple

import pytest
import torch
from timm.models import register_model
from timm.models.vgg import vgg11_bn
from torch import Tensor, nn

from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.networks import build_network


class Case(NamedTuple):
    """A timm model, its family, the side of its images, and whether it is smooth (no ReLU, no max-pool).

    `bn_mode` train is for untrained networks whose features vanish under the initial running statistics.
    """

    model: str
    family: str
    size: int = 32
    smooth: bool = False
    bn_mode: str = "eval"


@register_model
def small_vgg11_bn(pretrained: bool = False, **options: Any) -> nn.Module:
    """VGG-11 with its hidden layer of 103 M parameters cut to a sixteenth, for time and memory."""
    return vgg11_bn(pretrained, mlp_ratio=1 / 16, **options)


CASES = [
    Case("lenet_dlg", "lenet", smooth=True),
    Case("test_resnet", "resnet"),
    Case("resnet18", "resnet"),
    Case("resnet26", "resnet"),
    Case("seresnet18", "seresnet"),
    Case("resnext50_32x4d", "resnext"),
    Case("wide_resnet50_2", "wide_resnet"),
    Case("nf_resnet26", "nf_resnet"),
    Case("resnetv2_50", "resnetv2"),
    Case("densenet121", "densenet"),
    Case("small_vgg11_bn", "vgg"),
    Case("efficientnet_b0", "efficientnet", smooth=True),
    Case("test_efficientnet", "efficientnet"),
    Case("mobilenetv2_050", "mobilenetv2"),
    Case("mobilenetv3_small_050", "mobilenetv3"),
    Case("mobilenetv4_conv_small", "mobilenetv4"),
    Case("mnasnet_small", "mnasnet"),
    Case("lcnet_050", "lcnet"),
    Case("hardcorenas_a", "hardcorenas"),
    Case("ghostnet_050", "ghostnet"),
    Case("regnetx_002", "regnetx"),
    Case("regnety_002", "regnety"),
    Case("repvgg_a0", "repvgg", size=64, bn_mode="train"),
    Case("legacy_xception", "xception", size=64),
    Case("inception_v3", "inception", size=75),
    Case("convnext_atto", "convnext", smooth=True),
    Case("test_convnext", "convnext", smooth=True),
    Case("convnextv2_atto", "convnextv2", smooth=True),
    Case("edgenext_xx_small", "edgenext", smooth=True),
    Case("poolformer_s12", "poolformer", smooth=True),
    Case("vit_tiny_patch16_224", "vit", smooth=True),
    Case("test_vit", "vit", smooth=True),
    Case("deit_tiny_patch16_224", "deit", smooth=True),
    Case("swin_tiny_patch4_window7_224", "swin", smooth=True),
    Case("pit_ti_224", "pit", size=64, smooth=True),
    Case("mixer_s32_224", "mixer", size=64, smooth=True),
    Case("levit_128s", "levit", size=64),
    Case("mobilevit_xxs", "mobilevit", smooth=True),
]
SMOOTH = [case for case in CASES if case.smooth]
LABELS = torch.tensor([1, 2])


def make_victim(case: Case, dtype: torch.dtype = torch.float32) -> Victim:
    network = build_network(case.model, num_classes=4, image_size=case.size, untrained=True)
    return Victim(network.to(dtype), bn_mode=case.bn_mode)


def two_images(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """A private batch and a candidate, of two images where they normalise each other, else of one."""
    count = 2 if case.bn_mode == "train" else 1
    generator = torch.Generator().manual_seed(0)
    private, candidate = torch.randn(2, count, 3, case.size, case.size, generator=generator).to(dtype)
    return private, candidate


def gradient_distance(victim: Victim, candidate: Tensor, observed: list[Tensor]) -> Tensor:
    gradients = victim.update(candidate, LABELS[: len(candidate)])
    pairs = zip(gradients, observed, strict=True)
    return sum(((gradient - target).square().sum() for gradient, target in pairs), torch.zeros(()))


def observed_gradients(victim: Victim, private: Tensor) -> list[Tensor]:
    return [gradient.detach() for gradient in victim.update(private, LABELS[: len(private)])]


def test_the_table_covers_thirty_architectures_of_twenty_families() -> None:
    assert len({case.model for case in CASES}) >= 30
    assert len({case.family for case in CASES}) >= 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
def test_image_gradient_is_finite_and_not_zero(case: Case) -> None:
    victim = make_victim(case)
    private, candidate = two_images(case)
    observed = observed_gradients(victim, private)
    candidate.requires_grad_()
    (gradient,) = torch.autograd.grad(gradient_distance(victim, candidate, observed), candidate)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    heads = victim.module.get_classifier()
    head = heads[0] if isinstance(heads, tuple | list) else heads
    assert any(parameter.shape[0] == 4 for parameter in head.parameters())


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.model)
def test_image_gradient_equals_a_directional_difference(case: Case) -> None:
    victim = make_victim(case, torch.float64)
    private, candidate = two_images(case, torch.float64)
    observed = observed_gradients(victim, private)
    candidate.requires_grad_()
    (gradient,) = torch.autograd.grad(gradient_distance(victim, candidate, observed), candidate)
    # A random direction alone is nearly orthogonal to the gradient, and the difference would drown in rounding.
    noise = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = gradient / gradient.norm() + noise / noise.norm()
    step = 1e-5
    with torch.no_grad():
        ahead, behind = candidate + step * direction, candidate - step * direction
    difference = gradient_distance(victim, ahead, observed) - gradient_distance(victim, behind, observed)
    expected = (difference / (2 * step)).item()
    assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-4)
