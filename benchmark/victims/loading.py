"""Victims: which network in which state, and how to get it: built, trained in place, or loaded."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from gradinv.benchmark.datasets import Dataset, of_channels
from gradinv.benchmark.victims.checkpoints import load_weights
from gradinv.benchmark.victims.networks import VictimError, build_network, require_model
from gradinv.benchmark.victims.normalisation import Normalisation, normalisation_of
from gradinv.benchmark.victims.packaged_weights import PACKAGED, fill_from_package, packaged_source
from gradinv.benchmark.victims.requirements import require_logits, require_pure, require_two_derivatives
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.benchmark.victims.training import correct_share, train_victim, victim_path
from gradinv.benchmark.victims.zero_gradients import zero_gradient_share
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.records import read_file

DEGENERATE_SHARE = 0.05  # of the parameters; above it an untrained victim is called degenerate
JUDGED_IMAGES = 256
"""Tuning images on which foreign weights are tried: enough to see a wrong order of classes, few enough for a CPU."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class LoadedVictim:
    """A network in eval mode with what must be known about it.

    `mean` and `std` (one number a channel) normalise images in [0, 1]; `weights_hash` has 16 hexadecimal digits;
    `source` says in words where weights that were not made here come from, what was taken and how they are normalised
    (empty for others). `accuracy` is the share of images it gets right: of a victim trained here of all tuning and
    evaluation images, of foreign weights of at most 256 tuning images, None for an untrained one or without images.
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
    source: str = ""


def load_victim(
    spec: VictimSpec, dataset: Dataset, *, download: bool = False, progress: bool = True, judged: bool = True
) -> LoadedVictim:
    """The victim for that data set's classes and image size.

    A trained or early victim comes from the cache, or is trained in place where the cache has none. A pretrained one
    takes timm's weights from the local caches, else those of an installed package that fit it (`packaged_weights.py`),
    or downloads timm's if `download` is set; nothing else stands in for them.
    With `judged` the accuracy of weights from elsewhere is measured on some tuning images, which takes seconds.
    Raises UnknownNameError for an unknown model, DataError where data are missing, VictimError where the weights are
    missing or do not fit, or where the network is none that can be attacked (`requirements.py`).
    """
    require_model(spec.model)
    accuracy, source = None, ""
    normalisation = normalisation_for(spec, dataset)
    if spec.weights is not None:
        module = _build(spec, dataset)
        taken = _fill(module, Path(spec.weights), spec, dataset)
        source = f"{Path(spec.weights).name}: {taken}; normalised by {_said(normalisation, spec)}"
    elif spec.state == "pretrained":
        module, source = _pretrained(spec, dataset, download)
    elif spec.state == "untrained":
        module = untrained_network(spec, dataset)
    else:
        module, accuracy = _trained(spec, dataset, progress)
    # Drawn from another seed, so that what is no parameter and no buffer differs where it is drawn too.
    twin = _build(spec.model_copy(update={"seed": spec.seed + 1}), dataset)
    require_pure(module, twin, dataset.image_shape, spec.model)
    require_logits(module, dataset.image_shape, spec.model)
    share = zero_gradient_share(require_two_derivatives(module, dataset.image_shape, spec.model))
    degenerate = spec.state == "untrained" and share > DEGENERATE_SHARE
    state = "untrained_degenerate" if degenerate else spec.state
    if source and judged:
        accuracy = _accuracy(module, normalisation, dataset)
    return LoadedVictim(module, *normalisation, weights_hash(module), state, accuracy, share, source)


def untrained_network(spec: VictimSpec, dataset: Dataset) -> nn.Module:
    """A network of the victim's architecture with seeded random weights: for state untrained the victim itself.

    Raises UnknownNameError for an unknown model, VictimError where the model cannot take the data set's images.
    """
    require_model(spec.model)
    return _build(spec, dataset, untrained=True)


def normalisation_for(spec: VictimSpec, dataset: Dataset) -> Normalisation:
    """Mean and standard deviation a channel of the images that the victim sees.

    Those that its specification gives, else for a pretrained one timm's own, else the network's or the data set's.
    """
    if spec.mean is not None and spec.std is not None:
        return of_channels(spec.mean, dataset.channels), of_channels(spec.std, dataset.channels)
    if spec.state != "pretrained":
        return normalisation_of(spec.model, dataset)
    return _pretrained_normalisation(spec.model)


def _pretrained_normalisation(model: str) -> Normalisation:
    config = timm.get_pretrained_cfg(model)
    if config is None:
        raise VictimError(
            f"timm does not say how {model} normalises its images; give mean and std, or take state trained"
        )
    return tuple(config.mean), tuple(config.std)


def _said(normalisation: Normalisation, spec: VictimSpec) -> str:
    """Mean and standard deviation in words, and who says so."""
    mean, std = (", ".join(f"{value:g}" for value in values) for values in normalisation)
    if spec.mean is not None:
        return f"mean {mean} and std {std}, as given"
    owner = "timm's" if spec.state == "pretrained" else "the data set's"
    return f"mean {mean} and std {std}, {owner}"


def _accuracy(module: nn.Module, normalisation: Normalisation, dataset: Dataset) -> float | None:
    """Share of some tuning images that weights from elsewhere get right: a wrong order of classes shows only here."""
    if not dataset.has("tuning"):
        return None
    return correct_share(module, normalisation, dataset.split("tuning"), at_most=JUDGED_IMAGES)


def weights_hash(module: nn.Module) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the state dictionary: sorted names and the tensors' bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):  # with the buffers: running statistics change results too
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _build(spec: VictimSpec, dataset: Dataset, **options: Any) -> nn.Module:
    return build_network(
        spec.model,
        num_classes=len(dataset.classes),
        image_size=dataset.image_size,
        channels=dataset.channels,
        stem=spec.stem,
        seed=spec.seed,
        **options,
    )


def _trained(spec: VictimSpec, dataset: Dataset, progress: bool) -> tuple[nn.Module, float]:
    """The victim that its recipe gives, with its accuracy."""
    path = victim_path(spec, dataset)
    if not path.is_file():
        train_victim(spec, dataset, rounds=() if spec.round is None else (spec.round,), progress=progress)
    module = _build(spec, dataset)
    _fill(module, path, spec, dataset)
    facts = path.with_suffix(".json")
    try:
        return module, float(json.loads(read_file(facts))["accuracy"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise VictimError(
            f"{facts} does not say how the victim was trained; delete {path} to train it again"
        ) from error


def needs_download(spec: VictimSpec, dataset: Dataset) -> bool:
    """Whether a pretrained victim's weights are not on this machine; VictimError where there are none that fit."""
    if spec.state != "pretrained" or spec.weights is not None:
        return False
    _require_pretrained(spec, dataset)
    return not pretrained_source(spec.model)


def _require_pretrained(spec: VictimSpec, dataset: Dataset) -> Any:
    """timm's configuration of a model whose pretrained weights exist and fit the data set; VictimError for others."""
    if dataset.channels != 3:
        raise VictimError(f"the pretrained weights of {spec.model} are for colour images; {dataset.name} has grey ones")
    config = timm.get_pretrained_cfg(spec.model)
    if config is None or not config.has_weights:
        raise VictimError(f"timm has no pretrained weights of {spec.model}; give a weight file (weights: PATH)")
    if config.num_classes != len(dataset.classes):
        raise VictimError(
            f"the pretrained weights of {spec.model} know {config.num_classes} classes and {dataset.name} has "
            f"{len(dataset.classes)}; take a data set with those classes, or state trained"
        )
    return config


def _pretrained(spec: VictimSpec, dataset: Dataset, download: bool) -> tuple[nn.Module, str]:
    """The network with pretrained weights, and where these come from."""
    config = _require_pretrained(spec, dataset)
    local = _cached_weights(config)
    if local is None and packaged_source(spec.model):
        module = _build(spec, dataset)
        fill_from_package(module, spec.model)
        return module, packaged_source(spec.model)
    # timm downloads what it does not find, without asking; so it is only called where that may be or is not needed.
    if local is None and not download:
        package = "install gradinv[pretrained], " * (spec.model in PACKAGED)
        raise VictimError(
            f"the pretrained weights of {spec.model} are not on this machine; {package}pass --download, or give a "
            "weight file (weights: PATH)"
        )
    module = _build(spec, dataset, pretrained=True, pretrained_file=local)
    return module, f"timm: {config.hf_hub_id or config.url}"


def packaged_network(model: str, image_size: ImageSize) -> LoadedVictim:
    """A model with its packaged weights, normalised as it was trained; VictimError where these are not here."""
    module = build_network(model, num_classes=1000, image_size=image_size)
    fill_from_package(module, model)
    mean, std = _pretrained_normalisation(model)
    return LoadedVictim(module, mean, std, weights_hash(module), "pretrained", None, source=packaged_source(model))


def pretrained_source(model: str) -> str:
    """Where pretrained weights of a model are on this machine, in words; empty where they would be downloaded."""
    config = timm.get_pretrained_cfg(model)
    if config is not None and config.has_weights and _cached_weights(config) is not None:
        return f"timm: {config.hf_hub_id or config.url}"
    return packaged_source(model)


def _cached_weights(config: Any) -> str | None:
    """Path of the weights in Hugging Face's local cache or in torch's, whichever timm would use."""
    if config.hf_hub_id:
        names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        cached = (try_to_load_from_cache(config.hf_hub_id, name) for name in names)
        # A file that the hub is known not to have comes back as a marker object, which is no path either.
        return next((path for path in cached if isinstance(path, str)), None)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(config.url)).name
    return str(file) if file.is_file() else None


def _fill(module: nn.Module, path: Path, spec: VictimSpec, dataset: Dataset) -> str:
    """Load a weight file; returns what was taken from it, in words."""
    title, classes = f"{spec.model} on {dataset.name}", len(dataset.classes)
    return load_weights(module, path.expanduser(), title=title, num_classes=classes)
