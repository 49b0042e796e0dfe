"""Every family of timm: our loaded victim is timm's own network, and its update is differentiated as it should be.

By default families of which a core manages a model in about a second; `GRADINV_FAMILIES=all` adds the smallest model
of every other family that has one below 30 M parameters, at its own image size where a small one does not fit.
"""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn

from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.loading import load_victim
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.metrics.records.files import write_tensors

CLASSES = 4
LABELS = torch.tensor([1, 2])


class Family(NamedTuple):
    """A module of timm's, its smallest model, and the side of the images."""

    name: str
    model: str
    size: int


FAMILIES = [
    Family("byobnet", "test_byobnet", 32),
    Family("convnext", "test_convnext", 32),
    Family("cspnet", "cs3darknet_focus_s", 32),
    Family("deit", "deit_tiny_patch16_224", 32),
    Family("efficientnet", "test_efficientnet", 32),
    Family("efficientvit_msra", "efficientvit_m0", 32),
    Family("eva", "vit_tiny_patch16_dinov3_qkvb", 32),
    Family("fasternet", "fasternet_t0", 32),
    Family("hgnet", "hgnetv2_b0", 32),
    Family("levit", "levit_128s", 32),
    Family("mambaout", "test_mambaout", 32),
    Family("maxxvit", "test_coatnet", 32),
    Family("mobilenetv3", "lcnet_035", 32),
    Family("nfnet", "test_nfnet", 32),
    Family("resnet", "test_resnet", 32),
    Family("starnet", "starnet_s050", 32),
    Family("vision_transformer", "test_vit", 32),
    Family("vision_transformer_relpos", "test_vit_relpos", 32),
]
OTHERS = [
    Family("cait", "cait_xxs24_224", 32),
    Family("coat", "coat_tiny", 32),
    Family("convit", "convit_tiny", 32),
    Family("convmixer", "convmixer_768_32", 32),
    Family("cpubone", "cpubone_nano", 32),
    Family("crossvit", "crossvit_tiny_240", 240),
    Family("csatv2", "csatv2", 64),
    Family("cspnext", "cspnext_tiny", 32),
    Family("davit", "davit_tiny", 32),
    Family("densenet", "densenet121", 32),
    Family("dla", "dla46x_c", 32),
    Family("dpn", "dpn48b", 32),
    Family("edgenext", "edgenext_xx_small", 32),
    Family("efficientformer", "efficientformer_l1", 224),
    Family("efficientformer_v2", "efficientformerv2_s0", 32),
    Family("efficientvim", "efficientvim_m1", 32),
    Family("fastvit", "fastvit_t8", 32),
    Family("focalnet", "focalnet_tiny_srf", 32),
    Family("gcvit", "gcvit_xxtiny", 32),
    Family("ghostnet", "ghostnet_050", 64),
    Family("hardcorenas", "hardcorenas_b", 32),
    Family("hiera", "hiera_tiny_224", 32),
    Family("hieradet_sam2", "sam2_hiera_tiny", 32),
    Family("hrnet", "hrnet_w18_small", 32),
    Family("iformer", "iformer_t", 32),
    Family("inception_next", "inception_next_atto", 32),
    Family("lcnetv2", "lcnetv2_small", 32),
    Family("lowformer", "lowformer_b0", 32),
    Family("metaformer", "poolformerv2_s12", 32),
    Family("mlp_mixer", "gmlp_ti16_224", 32),
    Family("mobilevit", "mobilevit_xxs", 32),
    Family("mvitv2", "mvitv2_tiny", 32),
    Family("nest", "nest_tiny", 32),
    Family("pit", "pit_ti_224", 32),
    Family("pvt_v2", "pvt_v2_b0", 32),
    Family("rdnet", "rdnet_tiny", 32),
    Family("regnet", "regnetx_002", 32),
    Family("repghost", "repghostnet_050", 32),
    Family("repvit", "repvit_m1", 32),
    Family("res2net", "res2next50", 32),
    Family("resnest", "resnest14d", 32),
    Family("resnetv2", "resnetv2_18", 32),
    Family("rexnet", "rexnet_100", 32),
    Family("senet", "legacy_seresnet18", 32),
    Family("sequencer", "sequencer2d_s", 32),
    Family("shvit", "shvit_s1", 32),
    Family("sknet", "skresnet18", 32),
    Family("swiftformer", "swiftformer_xs", 32),
    Family("swin_transformer", "swin_tiny_patch4_window7_224", 32),
    Family("swin_transformer_v2", "swinv2_tiny_window8_256", 32),
    Family("swin_transformer_v2_cr", "swinv2_cr_tiny_224", 32),
    Family("tiny_vit", "tiny_vit_5m_224", 32),
    Family("tnt", "tnt_s_legacy_patch16_224", 32),
    Family("tresnet", "tresnet_m", 32),
    Family("twins", "twins_svt_small", 32),
    Family("visformer", "visformer_tiny", 32),
    Family("vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", 32),
    Family("vitamin", "vitamin_small_224", 32),
    Family("volo", "volo_d1_224", 32),
    Family("vovnet", "ese_vovnet19b_slim_dw", 32),
]
"""Some five minutes of a core more."""
CASES = FAMILIES + OTHERS * (os.environ.get("GRADINV_FAMILIES") == "all")


def timms_own(model: str, size: int) -> nn.Module:
    """The network as timm makes it, in eval mode, every weight and statistic random."""
    torch.manual_seed(0)
    try:
        network = timm.create_model(model, num_classes=CLASSES, img_size=size)
    except TypeError:
        network = timm.create_model(model, num_classes=CLASSES)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape).abs() * 0.02 if name.endswith("running_var") else 0)
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return network.eval()


def require_equal_to_timms(family: Family, dataset, folder) -> nn.Module:
    """The victim of a weight file, whose logits are timm's."""
    own = timms_own(family.model, family.size)
    images = torch.randn(2, 3, family.size, family.size)
    with torch.no_grad():
        expected = own(images)  # and now whatever it keeps is there
    path = write_tensors(folder / "weights.safetensors", own.state_dict())
    module = load_victim(VictimSpec(model=family.model, state="trained", weights=str(path)), dataset).module
    with torch.no_grad():
        scale = float(expected.abs().max())
        torch.testing.assert_close(module(images), expected, rtol=1e-3, atol=1e-4 * scale)
    return module


def require_derivatives(module: nn.Module, size: int) -> None:
    """In double precision: the update is the loss's slope in the weights, and its own slope in the images is right."""
    victim = Victim(module.double())
    images, towards = torch.randn(2, 2, 3, size, size, dtype=torch.float64)
    directions = [torch.randn_like(parameter) for parameter in victim.parameters]

    def slope(images: Tensor) -> Tensor:
        pairs = zip(victim.update(images, LABELS), directions, strict=True)
        return torch.stack([(sent * direction).sum() for sent, direction in pairs]).sum()

    def loss(step: float) -> Tensor:
        pairs = zip(victim.named_parameters.items(), directions, strict=True)
        moved = {name: value.detach() + step * direction for (name, value), direction in pairs}
        return nn.functional.cross_entropy(victim.logits(moved, images), LABELS)

    def along(step: float) -> Tensor:
        return slope(images + step * direction).detach()

    candidate = images.clone().requires_grad_(True)
    value = slope(candidate)
    (gradient,) = torch.autograd.grad(value, candidate)
    # A random direction alone is nearly orthogonal to the gradient, and the difference would drown in rounding.
    direction = gradient / gradient.norm().clamp(min=1e-12) + towards / towards.norm()
    with torch.no_grad():
        assert value.item() in differences(loss, float(value), rel=1e-3)
    assert (gradient * direction).sum().item() in differences(along, float(value), rel=1e-2)


def differences(function: Callable[[float], Tensor], scale: float, rel: float) -> Iterator[object]:
    """Central differences at 0 by several steps, to be met within rounding: a step may cross the kink of a ReLU."""
    steps = (1e-6, 1e-5, 1e-7)
    slopes = (float(function(step) - function(-step)) / (2 * step) for step in steps)
    return (pytest.approx(slope, rel=rel, abs=1e-4 * abs(scale)) for slope in slopes)


@pytest.mark.parametrize("family", CASES, ids=lambda family: family.model)
def test_a_loaded_victim_is_timms_network_and_is_differentiated_right(family: Family, make_dataset, tmp_path) -> None:
    with torch.random.fork_rng():
        module = require_equal_to_timms(family, make_dataset(size=family.size, train=0), tmp_path)
        require_derivatives(module, family.size)
