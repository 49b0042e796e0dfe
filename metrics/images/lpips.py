"""LPIPS, with its backbone's weights taken from a local file."""

import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from lpips import LPIPS
from torch import Tensor
from torchvision.models import AlexNet_Weights, VGG16_Weights, WeightsEnum

from gradinv.metrics.images.scoring import MetricUnavailable, register_metric

_BACKBONES: dict[str, WeightsEnum] = {"alex": AlexNet_Weights.IMAGENET1K_V1, "vgg": VGG16_Weights.IMAGENET1K_V1}
_CHUNK = 8  # images at once: the first feature maps of VGG at 224 px take 13 MB each


def weight_name(backbone: str) -> str:
    """The file name that torchvision gives the weights of `backbone`, "alex" or "vgg".

    >>> weight_name("vgg")
    'vgg16-397923af.pth'
    """
    return Path(urlparse(_BACKBONES[backbone].url).path).name


@register_metric(
    "lpips_alex",
    title="LPIPS (AlexNet)",
    meaning="LPIPS perceptual distance, AlexNet backbone",
    direction="lower",
    low=0.0,
    min_size=31,  # below, AlexNet's second pooling has no pixel left
    weights="alexnet-owt-7be5be79.pth",
    board_column=30,
    panel=True,
)
def lpips_alex(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Learned perceptual distance of each image on AlexNet features, version 0.1 of the authors' heads.

    (B, 1 or 3, H, W) in [0, 1] -> (B,), 0 for equal images, rarely above 1; grey images are repeated to three channels.
    MetricUnavailable where the backbone's weights are not on this machine
    (Zhang et al. 2018, arXiv 1801.03924, Eq. 1).
    """
    return _lpips("alex", reconstructions, originals)


@register_metric(
    "lpips_vgg",
    title="LPIPS (VGG-16)",
    meaning="LPIPS perceptual distance, VGG-16 backbone",
    direction="lower",
    low=0.0,
    min_size=16,  # four poolings before the last features
    weights="vgg16-397923af.pth",
    board_column=40,
)
def lpips_vgg(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Learned perceptual distance of each image on VGG-16 features; otherwise as `lpips_alex`."""
    return _lpips("vgg", reconstructions, originals)


@torch.no_grad()
def _lpips(backbone: str, reconstructions: Tensor, originals: Tensor) -> Tensor:
    network = _network(backbone, _weight_file(backbone), originals.device)
    # The network expects [-1, 1].
    pairs = zip((2 * reconstructions - 1).float().split(_CHUNK), (2 * originals - 1).float().split(_CHUNK), strict=True)
    return torch.cat([network(made, true).flatten() for made, true in pairs])


def _weight_file(backbone: str) -> Path:
    """The backbone's weights on this machine, downloaded if that is allowed; MetricUnavailable where there are none."""
    url, name = _BACKBONES[backbone].url, weight_name(backbone)
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    # Torch's own cache is looked into last, so that the variable can put other weights before it.
    folders = [Path(given)] if (given := os.environ.get("GRADINV_WEIGHTS")) else []
    for folder in (*folders, hub):
        if (folder / name).is_file():
            return folder / name
    if os.environ.get("GRADINV_DOWNLOAD") != "1":
        raise MetricUnavailable(f"{name} is missing; put it into $GRADINV_WEIGHTS, or pass --download")
    hub.mkdir(parents=True, exist_ok=True)
    digest = name.rpartition("-")[2].removesuffix(".pth")  # torchvision names a file by the start of its SHA-256
    try:
        torch.hub.download_url_to_file(url, str(hub / name), hash_prefix=digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # no connection; a file that is not what its name says
        raise MetricUnavailable(f"{name} could not be downloaded from {url}: {error}") from error
    return hub / name


@cache
def _network(backbone: str, file: Path, device: torch.device) -> LPIPS:
    """LPIPS with its own heads and the convolutions of `file`, once per process and device."""
    # The backbone is drawn at random before it is filled, through an argument that torchvision has renamed.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore", category=UserWarning):
        network = LPIPS(net=backbone, pnet_rand=True, verbose=False)
    state = _tensors(file)
    for name, parameter in network.net.named_parameters():
        _, index, kind = name.split(".")  # slice2.3.weight is torchvision's features.3.weight
        source = state.get(f"features.{index}.{kind}")
        if not isinstance(source, Tensor) or source.shape != parameter.shape:
            raise MetricUnavailable(f"{file} holds no fitting features.{index}.{kind}; put torchvision's file there")
        parameter.copy_(source)
    return network.requires_grad_(False).to(device)


def _tensors(file: Path) -> dict[str, Any]:
    """What the weight file holds; MetricUnavailable where it is none."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)  # never a pickle: the file is anybody's
    except Exception as error:
        # Not in torch's own words, which advise to read it without `weights_only`.
        raise MetricUnavailable(f"{file} is damaged ({type(error).__name__}); put torchvision's file there") from error
    if not isinstance(state, dict):
        raise MetricUnavailable(f"{file} holds no weights by name; put torchvision's file there")
    return state
