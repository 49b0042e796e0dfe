"""A client of one's own: a leak file that anybody's training code wrote, and the network that it is said to come from.

docs/leak-file.md has the format. Nothing here knows the private batch: what the file does not say it does not say.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gradinv.attacks.grants import Sources, granted_statistics
from gradinv.attacks.inferred_statistics import StatisticsError
from gradinv.attacks.leak import Leak, LeakError, Observation, Statistics
from gradinv.attacks.victim import Victim, bn_layers, trained_parameters
from gradinv.benchmark.datasets import Dataset
from gradinv.benchmark.victims import LoadedVictim, VictimSpec, load_victim
from gradinv.metrics.keys import parse_key
from gradinv.metrics.registry import RequestError, unknown

SHAPING = ("epochs", "seed", "stem")
"""What the key of a victim may name in brackets."""


@dataclass(frozen=True)
class ReceivedLeak:
    """A leak that fits its victim, gradients in the victim's order; `mode` says in words how `bn_mode` is known."""

    leak: Leak
    victim: Victim
    mode: str


def victim_of_key(text: str, *, state: str | None, weights: Path | None) -> VictimSpec:
    """The victim of a key such as `resnet18[stem=cifar]`; RequestError where nothing says what its weights are.

    >>> victim_of_key("resnet18[stem=cifar,seed=3]", state="untrained", weights=None).key
    'resnet18[stem=cifar]'
    """
    key = parse_key(text)
    strange = sorted(set(key.parameters) - set(SHAPING))
    if strange:
        raise RequestError(f"--victim {text}: {unknown('parameter', strange[0], list(SHAPING))}")
    if weights is None and state in (None, "trained"):
        raise RequestError(
            "--weights is missing: give the network's weights from before the update, or --state untrained (of a seed, "
            "--victim MODEL[seed=N]) or pretrained (timm's)"
        )
    return VictimSpec.model_validate(
        {
            "model": key.name + (f".{key.preset}" if key.preset else ""),
            "state": state or "trained",
            "weights": None if weights is None else str(weights),
            **key.parameters,
        }
    )


def read_leak(path: Path) -> Leak:
    """The leak of a file; LeakError in one line, which names the file, where it cannot be any network's.

    Images have three channels or one, as victims take them; no number is NaN or infinite.
    """
    leak = Leak.load(path)
    if leak.image_shape[0] not in (1, 3):
        raise LeakError(f"{path}: images of shape {leak.image_shape}; victims take 3 channels, or 1")
    statistics = [value for pair in leak.bn_statistics or () for value in pair]
    later = [pair for observation in leak.later for part in vars(observation).values() for pair in part.items()]
    named = [*leak.gradients.items(), *later, *(leak.buffers or {}).items(), *(("bn", value) for value in statistics)]
    not_finite = [name for name, value in named if not bool(torch.isfinite(value).all())]
    if not_finite:
        raise LeakError(f"{path}: {', '.join(not_finite[:3])} holds NaN or infinity; the training step has diverged")
    if not any(bool(value.any()) for value in leak.gradients.values()):
        raise LeakError(f"{path}: every gradient is zero; write them after loss.backward() and before zero_grad()")
    if (leak.labels is None) != (leak.threat_model.labels == "none"):
        raise LeakError(f"{path}: threat_model.labels is {leak.threat_model.labels}, which the tensor labels belies")
    return leak


def load_own_victim(spec: VictimSpec, leak: Leak, path: Path, *, download: bool = False) -> LoadedVictim:
    """The network for the classes and the image size of a leak file; VictimError where it cannot be had.

    No images are known of a client of one's own, so that its network comes from a file or from timm.
    """
    classes = [str(index) for index in range(leak.num_classes)]
    channels, *size = leak.image_shape
    return load_victim(spec, Dataset(f"the leak {path.name}", classes, size, {}, channels=channels), download=download)


def receive(leak: Leak, module: nn.Module, path: Path) -> ReceivedLeak:
    """The leak as an attack on this network takes it; LeakError, which names the file, where it is another network's.

    What the file leaves open is settled: the mode from the buffers sent, else eval; public statistics from the network.
    """
    # Before the leak is checked, since its types are compared with those of the network.
    module = module.to(leak.threat_model.dtype)
    try:
        leak.require_fit(trained_parameters(module), [layer.num_features for layer in bn_layers(module)])
        bn_mode, words = _mode(leak, module)
        victim = Victim(module, bn_mode=bn_mode, update=leak.threat_model.update)
        statistics = _statistics(leak, victim)
    except LeakError as error:
        raise LeakError(f"{path}: {error}") from error
    # In the victim's order, whatever the file's: an attack may pair them with the victim's parameters one by one.
    ordered = {name: leak.gradients[name] for name in victim.parameter_names}
    later = tuple(
        Observation(*({name: part[name] for name in victim.parameter_names} for part in vars(observation).values()))
        for observation in leak.later
    )
    model = leak.threat_model.model_copy(update={"bn_mode": bn_mode})
    leak = replace(leak, gradients=ordered, threat_model=model, bn_statistics=statistics, later=later)
    return ReceivedLeak(leak.to(victim.device), victim, words)


def _statistics(leak: Leak, victim: Victim) -> Statistics | None:
    """The batch-norm statistics of the level granted: those of the file, else what network and buffers determine."""
    level = leak.threat_model.bn_statistics
    if leak.bn_statistics is not None or not victim.bn_layers:
        return leak.bn_statistics
    try:
        return granted_statistics(level, Sources(victim, leak.shape, buffers=leak.buffers))
    except StatisticsError as error:
        raise LeakError(f"bn_statistics {level} are granted and the tensor bn/0/mean is missing: {error}") from error


def _mode(leak: Leak, module: nn.Module) -> tuple[str, str]:
    """The mode of the client's batch-norm layers, and how it is known, in words."""
    stated = leak.threat_model.bn_mode if "bn_mode" in leak.threat_model.model_fields_set else None
    if not bn_layers(module):
        return stated or "eval", "no batch-norm layers, so that train and eval mode are one"
    if leak.buffers is None:
        return stated or "eval", f"{stated}, as the file says" if stated else "eval, since nothing says otherwise"
    changed = _changed_buffers(leak.buffers, dict(module.named_buffers()))
    guessed = "train" if changed else "eval"
    if stated not in (None, guessed):
        return stated, f"{stated}, as the file says, but the buffers sent look like {guessed} mode; check both"
    return guessed, f"{guessed}, since {len(changed) or 'none'} of the {len(leak.buffers)} buffers sent have changed"


def _changed_buffers(sent: dict[str, Tensor], before: dict[str, Tensor]) -> list[str]:
    """Names of the buffers that are not the network's any more; LeakError for those that it cannot have."""
    for name, value in sent.items():
        if name not in before:
            raise LeakError(f"buffer/{name} is no buffer of the victim")
        if value.shape != before[name].shape:
            shapes = f"{tuple(value.shape)} and not {tuple(before[name].shape)}"
            raise LeakError(f"buffer/{name} is {shapes}")
    return [name for name, value in sent.items() if not torch.equal(value.to(before[name]), before[name])]
