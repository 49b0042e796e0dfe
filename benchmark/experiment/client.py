"""The client's update, and what of it and of the threat model reaches the attacker as a Leak."""

import copy
import math
from dataclasses import dataclass

import torch
from gradinv.attacks.leak import Leak, Statistics, ThreatModel
from gradinv.attacks.victim import Victim, bn_layers
from gradinv.benchmark.datasets.batches import Batch
from gradinv.benchmark.defenses import Defense
from torch import Tensor, nn
from torch.func import functional_call

SELF_CHECK_TOLERANCE = 1e-3
"""Relative: float32 agrees to about 1e-6, TF32 convolutions to about 1e-4, a wrong experiment to nothing like it."""


class ImpossibleCellError(ValueError):
    """A combination that cannot exist; the trial is skipped with this text as its reason."""


class InconsistentExperimentError(RuntimeError):
    """A client update that does not follow from the declared batch and state."""


@dataclass(frozen=True)
class ClientUpdate:
    """What a client computed: its gradients as sent, and as they were before the defense."""

    sent: dict[str, Tensor]
    undefended: dict[str, Tensor]
    images: Tensor
    labels: Tensor


def client_update(
    module: nn.Module, images: Tensor, labels: Tensor, *, bn_mode: str, defense: Defense, seed: int
) -> ClientUpdate:
    """The gradient of the mean cross-entropy over normalised images (B, C, H, W), defended.

    The network is left alone; in train mode the batch-norm layers, and only they, of a copy are in train mode. Raises
    ImpossibleCellError where a batch-norm layer would see a single value per channel.
    """
    parameters = {name: value.detach().requires_grad_(True) for name, value in module.named_parameters()}
    try:
        loss = nn.functional.cross_entropy(functional_call(_in_mode(module, bn_mode), parameters, (images,)), labels)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ImpossibleCellError("train mode needs more than one value per channel in a batch-norm layer") from error
    gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    undefended = dict(zip(parameters, gradients, strict=True))
    sent = defense.apply(dict(undefended), torch.Generator().manual_seed(seed))
    return ClientUpdate(sent, undefended, images, labels)


def _in_mode(module: nn.Module, bn_mode: str) -> nn.Module:
    """The network itself where its forward pass in this mode changes nothing in it, else a copy in this mode."""
    if bn_mode == "eval" and not any(part.training for part in module.modules()):
        return module
    network = copy.deepcopy(module).eval()
    if bn_mode == "train":
        for layer in bn_layers(network):
            layer.train()
    return network


def observe(
    update: ClientUpdate,
    victim: Victim,
    batch: Batch,
    threat_model: ThreatModel,
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Leak:
    """What the server sees of an update under a threat model."""
    return Leak(
        gradients=update.sent,
        batch_size=len(batch),
        image_shape=(batch.images.shape[1], batch.images.shape[2], batch.images.shape[3]),
        num_classes=num_classes,
        mean=mean,
        std=std,
        threat_model=threat_model,
        labels=granted_labels(update.labels, threat_model),
        bn_statistics=granted_statistics(update.images, victim, threat_model),
    )


def granted_labels(labels: Tensor, threat_model: ThreatModel) -> Tensor | None:
    """The labels (B,) in slot order if known, sorted if only their counts are, else None."""
    if threat_model.labels == "none":
        return None
    return labels.clone() if threat_model.labels == "known" else labels.sort().values


def granted_statistics(images: Tensor, victim: Victim, threat_model: ThreatModel) -> Statistics | None:
    """One (mean, variance) pair a batch-norm layer: the network's running ones, the batch's exact ones, or None."""
    if threat_model.bn_statistics == "none" or not victim.bn_layers:
        return None
    return victim.running_statistics if threat_model.bn_statistics == "running" else victim.bn_statistics(images)


def self_check(update: ClientUpdate, victim: Victim) -> None:
    """Recompute the undefended gradient as an attack would, from the true batch; they must agree.

    Raises InconsistentExperimentError, because an attack on any other experiment would chase a gradient that its
    candidates cannot have.
    """
    recomputed = victim.gradients(update.images, update.labels)
    names = victim.parameter_names
    difference = torch.stack([(g - update.undefended[n]).norm() for n, g in zip(names, recomputed, strict=True)]).norm()
    length = torch.stack([value.norm() for value in update.undefended.values()]).norm()
    if not bool(difference <= SELF_CHECK_TOLERANCE * length):
        raise InconsistentExperimentError(
            f"the client's gradient is not that of its batch under the declared state: they differ by {difference:.3g} "
            f"at a norm of {length:.3g}; check bn_mode and the victim's weights"
        )


def update_cosine(update: ClientUpdate) -> float:
    """Cosine of the angle between the update as sent and before the defense, over all parameters: 1 without a defense.

    It says how much of the direction that the server learns from is left; 0 where either is zero.
    """
    along = sent_square = plain_square = 0.0
    for name, value in update.undefended.items():
        plain, sent = value.flatten().double(), update.sent[name].flatten().double()
        along += float(sent @ plain)
        sent_square += float(sent @ sent)
        plain_square += float(plain @ plain)
    length = math.sqrt(sent_square * plain_square)
    return along / length if length else 0.0


def zero_gradient_share(update: ClientUpdate) -> float:
    """Share of the parameters, in [0, 1], that lie in tensors whose gradient is exactly zero."""
    sizes = [(value.numel(), bool(value.any())) for value in update.undefended.values()]
    return sum(size for size, alive in sizes if not alive) / sum(size for size, _ in sizes)
