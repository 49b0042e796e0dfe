"""The autoencoder that a leak may carry: what it computes, and which tensors are one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from gradinv.attacks.leak import Leak, LeakError, fresh_autoencoder, reencoded


def test_it_is_six_convolutions_down_to_a_code_and_up_again() -> None:
    tensors = fresh_autoencoder(3, seed=1, width=8, code=4)
    tensors = {name: value + 0.1 for name, value in tensors.items()}  # with biases
    widths = [3, 8, 16, 4, 16, 8, 3]
    convolutions = [nn.Conv2d(*widths[i : i + 2], 3, stride=2 if i < 2 else 1, padding=1) for i in range(6)]
    down, wide, code, up, out, last = convolutions
    sharper, rest = nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)
    network = nn.Sequential(
        down, sharper, wide, sharper, code, up, sharper, rest, out, sharper, nn.Upsample(scale_factor=2), last
    )
    for place, convolution in enumerate(convolutions):
        convolution.weight.data, convolution.bias.data = (
            tensors[f"layer{place}.{kind}"] for kind in ("weight", "bias")
        )
    pixels = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reencoded(tensors, pixels), network(pixels - 0.5) + 0.5)


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 9, 14), (1, 8, 8), (3, 1, 5)])
def test_images_of_any_size_keep_it(shape: tuple[int, int, int]) -> None:
    pixels = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    assert reencoded(fresh_autoencoder(shape[0], seed=0), pixels).shape == pixels.shape


def test_it_survives_a_file_and_grants_itself(case: Callable, tmp_path: Path) -> None:
    leak, victim = case()
    tensors = fresh_autoencoder(3, seed=0, width=4, code=2)
    grants = leak.threat_model.model_copy(update={"auxiliary_images": "train"})
    path = tmp_path / "taught.safetensors"
    dataclasses.replace(leak, threat_model=grants, autoencoder=tensors).save(path)
    read = Leak.load(path)
    victim.require_fit(read)
    assert read.threat_model.auxiliary_images == "train"
    assert read.autoencoder is not None
    assert all(torch.equal(read.autoencoder[name], value) for name, value in tensors.items())
    assert leak.threat_model.model_dump().get("auxiliary_images") is None  # ids of trials without it stay
    dataclasses.replace(leak, autoencoder=tensors).save(path)  # the model says that nothing was granted
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    facts["leak"] = facts["leak"].replace('"threat_model": {', '"threat_model": {"auxiliary_images": "none", ')
    save_file(load_file(path), path, metadata=facts)
    with pytest.raises(LeakError, match="auxiliary_images is none, which the tensors autoencoder/ belie"):
        Leak.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer2.bias": None}, "the autoencoder lacks layer2.bias"),
        ({"layer9.bias": torch.ones(1)}, "no autoencoder has layer9.bias"),
        ({"layer5.bias": torch.ones(4)}, r"the autoencoder's layer5.bias is \(4,\) and not \(3,\)"),
    ],
)
def test_tensors_that_are_none_are_refused(case: Callable, change: dict, said: str) -> None:
    leak, victim = case()
    tensors = {**fresh_autoencoder(3, seed=0), **change}
    tensors = {name: value for name, value in tensors.items() if value is not None}
    with pytest.raises(LeakError, match=said):
        victim.require_fit(dataclasses.replace(leak, autoencoder=tensors))
