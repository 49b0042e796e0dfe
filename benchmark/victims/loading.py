"""Victims: which network in which state, and how to get it: built, trained in place, or loaded."""

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.victims.networks import Stem, VictimError, build_network, require_model
from gradinv.benchmark.victims.normalisation import normalisation_of
from gradinv.benchmark.victims.training import default_recipe, train_victim, victim_path
from gradinv.metrics.keys import bracketed
from huggingface_hub import try_to_load_from_cache
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["LoadedVictim", "VictimError", "VictimSpec", "load_victim", "weights_hash"]

State = Literal["untrained", "early", "trained", "pretrained"]
DEGENERATE_SHARE = 0.05  # of the parameters; above it an untrained victim is called degenerate
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class VictimSpec(BaseModel):
    """Which victim: a timm model, its state, and what shapes it.

    `early` is trained for one epoch. `epochs` overrides the default number of a trained victim. `weights` is a local
    file (safetensors, or a checkpoint of tensors only) that a trained or pretrained victim takes instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    state: State
    seed: int = 0
    stem: Stem = "default"
    epochs: int | None = Field(default=None, ge=1)
    weights: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> "VictimSpec":
        if self.epochs is not None and (self.state != "trained" or self.weights is not None):
            raise ValueError("epochs is for state trained without weights only")
        if self.weights is not None and self.state not in ("trained", "pretrained"):
            raise ValueError(f"weights contradict state {self.state}; take trained or pretrained")
        if self.state == "pretrained" and self.stem != "default" and self.weights is None:
            raise ValueError("timm's pretrained weights do not fit another stem; take stem=default or give weights")
        return self

    @property
    def key(self) -> str:
        """The model and, in brackets, what shapes it beyond the default (a weight file by its name).

        >>> VictimSpec(model="resnet18", state="trained", epochs=5, stem="cifar").key
        'resnet18[epochs=5,stem=cifar]'
        """
        shaping: dict[str, Any] = {}
        if self.epochs is not None:
            shaping["epochs"] = self.epochs
        if self.stem != "default":
            shaping["stem"] = self.stem
        if self.weights is not None:
            shaping["weights"] = Path(self.weights).name
        return self.model + bracketed(shaping)


@dataclass(frozen=True)
class LoadedVictim:
    """A network in eval mode with what must be known about it.

    `mean` and `std` (one number a channel) normalise images in [0, 1]; `weights_hash` has 16 hexadecimal digits;
    `accuracy` is the share of tuning and evaluation images it gets right, None where nobody measured it;
    `zero_gradient_share` of the parameters lie in tensors whose gradient is exactly zero for random images. `state` is
    the specification's, or `untrained_degenerate` where that share is above 5 % without training.
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_hash: str
    state: str
    accuracy: float | None
    zero_gradient_share: float | None = None


def load_victim(spec: VictimSpec, dataset: Dataset, *, download: bool = False, progress: bool = True) -> LoadedVictim:
    """The victim for that data set's classes and image size.

    A trained or early victim comes from the cache, or is trained in place where the cache has none. A pretrained one
    takes timm's weights from the local caches, or downloads them if `download` is set; nothing else stands in for it.
    Raises UnknownNameError for an unknown model, DataError where data are missing, VictimError where the weights are
    missing or do not fit.
    """
    require_model(spec.model)
    accuracy = None
    mean, std = normalisation_of(spec.model, dataset)
    if spec.state == "pretrained":
        mean, std = _pretrained_normalisation(spec.model)
    if spec.weights is not None:
        module = _build(spec, dataset)
        _fill(module, _read_weights(Path(spec.weights).expanduser()), spec.weights)
    elif spec.state == "pretrained":
        module = _pretrained(spec, dataset, download)
    elif spec.state == "untrained":
        module = _build(spec, dataset, untrained=True)
    else:
        module, accuracy = _trained(spec, dataset, progress)
    share = zero_gradient_share(module, dataset.image_size)
    degenerate = spec.state == "untrained" and share > DEGENERATE_SHARE
    state = "untrained_degenerate" if degenerate else spec.state
    return LoadedVictim(module, mean, std, weights_hash(module), state, accuracy, share)


def weights_hash(module: nn.Module) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the state dictionary: sorted names and the tensors' bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def zero_gradient_share(module: nn.Module, image_size: int) -> float:
    """Share of the parameters, in [0, 1], in tensors whose gradient is exactly zero for two seeded random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, image_size, image_size, generator=generator)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    loss = nn.functional.cross_entropy(module(images), torch.tensor([0, 1]))
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    dead = sum(
        parameter.numel()
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if gradient is None or not gradient.any()
    )
    return dead / sum(parameter.numel() for parameter in parameters)


def _build(spec: VictimSpec, dataset: Dataset, **options: Any) -> nn.Module:
    return build_network(
        spec.model,
        num_classes=len(dataset.classes),
        image_size=dataset.image_size,
        stem=spec.stem,
        seed=spec.seed,
        **options,
    )


def _trained(spec: VictimSpec, dataset: Dataset, progress: bool) -> tuple[nn.Module, float]:
    """The victim that the default recipe gives, with its accuracy."""
    path = victim_path(spec, dataset, default_recipe(spec, dataset))
    if not path.is_file():
        train_victim(spec, dataset, progress=progress)
    module = _build(spec, dataset)
    _fill(module, _read_weights(path), str(path))
    return module, json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["accuracy"]


def _pretrained(spec: VictimSpec, dataset: Dataset, download: bool) -> nn.Module:
    config = timm.get_pretrained_cfg(spec.model)
    if config is None or not config.has_weights:
        raise VictimError(f"timm has no pretrained weights of {spec.model}; give a weight file (weights: PATH)")
    if config.num_classes != len(dataset.classes):
        raise VictimError(
            f"the pretrained weights of {spec.model} know {config.num_classes} classes and {dataset.name} has "
            f"{len(dataset.classes)}; take a data set with those classes, or state trained"
        )
    local = _cached_weights(config)
    if local is None and not download:
        raise VictimError(
            f"the pretrained weights of {spec.model} are not on this machine; pass --download, or give a weight file "
            "(weights: PATH)"
        )
    try:
        return _build(spec, dataset, pretrained=True, pretrained_file=local)
    except OSError as error:
        raise VictimError(f"the pretrained weights of {spec.model} cannot be had: {error}") from error


def _cached_weights(config: Any) -> str | None:
    """Path of the weights in Hugging Face's local cache or in torch's, whichever timm would use."""
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        found = (try_to_load_from_cache(config.hf_hub_id, name) for name in names)
        return next((path for path in found if isinstance(path, str)), None)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(config.url)).name
    return str(file) if file.is_file() else None


def _pretrained_normalisation(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    config = timm.get_pretrained_cfg(model)
    if config is None:
        raise VictimError(f"timm does not say how {model} normalises its images; take state trained")
    return tuple(config.mean), tuple(config.std)


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file; a checkpoint is read with `weights_only=True`, so that no pickle can run code."""
    if not path.is_file():
        raise VictimError(f"weight file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise VictimError(f"weight file {path} is no file of tensors: {reason}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    if not isinstance(checkpoint, dict) or not all(isinstance(value, Tensor) for value in checkpoint.values()):
        raise VictimError(f"weight file {path} holds no dictionary of tensors")
    return {name.removeprefix("module."): value for name, value in checkpoint.items()}


def _fill(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load all weights; VictimError naming the first ones that differ."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    differing = sorted(name for name in {*expected, *given} if expected.get(name) != given.get(name))
    if differing:
        raise VictimError(
            f"weight file {source} does not fit: {', '.join(differing[:3])} missing, unknown or misshapen"
        )
    module.load_state_dict(weights)
