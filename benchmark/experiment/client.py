"""The client's update, and what of it and of the threat model reaches the attacker as a Leak."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gradinv.attacks.grants import Sources, granted_labels, granted_statistics
from gradinv.attacks.inferred_statistics import StatisticsError
from gradinv.attacks.leak import Autoencoder, Leak, Statistics, ThreatModel
from gradinv.attacks.update import Parameters, create_update
from gradinv.attacks.victim import Victim, bn_layers, call_with, trained_parameters
from gradinv.benchmark.datasets import Batch
from gradinv.benchmark.defenses import ClientStep, Defense, UndefendableError

SELF_CHECK_TOLERANCE = 1e-3
"""Relative: float32 agrees to about 1e-6, TF32 convolutions to about 1e-4, a wrong experiment to nothing like it."""


class ImpossibleCellError(ValueError):
    """A combination that cannot exist; the trial is skipped with this text as its reason."""


class InconsistentExperimentError(RuntimeError):
    """A client update that does not follow from the declared batch and state."""


@dataclass(frozen=True)
class ClientUpdate:
    """What a client computed, by parameter: `sent`, and `computed` from `images` and `labels` before `on_update`.

    `images` (B, C, H, W) and `labels` are what the network saw: the batch after the defense's `on_batch`. `undefended`
    is what the client would have sent of its own batch without any defense. `buffers` are the network's after the
    client's pass, by name; `drawn` those that the pass used in place of the network's own.
    """

    sent: dict[str, Tensor]
    computed: dict[str, Tensor]
    undefended: dict[str, Tensor]
    images: Tensor
    labels: Tensor
    buffers: dict[str, Tensor]
    drawn: dict[str, Tensor] = field(default_factory=dict)


def client_update(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    bn_mode: str,
    defense: Defense,
    seed: int,
    update: str = "gradient",
) -> ClientUpdate:
    """The update of normalised images (B, C, H, W) with labels (B,), defended; `update` is its key.

    `module` is the network that the client trains, after the defense's `on_model`; it is left alone. In train mode the
    batch-norm layers, and only they, of a copy are in train mode. Raises ImpossibleCellError where a batch-norm layer
    would see a single value per channel.
    """
    # One generator for all hooks: a defense that draws for its batch and for its update draws in this order.
    generator = torch.Generator().manual_seed(seed)
    try:
        return _defended(module, images, labels, bn_mode, defense, generator, update)
    except UndefendableError as error:
        raise ImpossibleCellError(str(error)) from error


def _defended(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    bn_mode: str,
    defense: Defense,
    generator: torch.Generator,
    update: str,
) -> ClientUpdate:
    """The same; UndefendableError where the defense is impossible."""
    defended_images, defended_labels = defense.on_batch(images, labels, generator)
    if defended_labels is not labels and defended_labels.is_floating_point():
        defended_labels = _of_all_classes(defended_labels, module, images)
    drawn = defense.draws(module, len(defended_images), generator)
    computed, buffers = _computed(module, defended_images, defended_labels, bn_mode, update, drawn)
    # By identity: `on_batch` returns the same tensors where it changes nothing, and a backward pass is spared.
    is_plain = defended_images is images and defended_labels is labels and not drawn
    undefended = computed if is_plain else _computed(module, images, labels, bn_mode, update)[0]

    def compute(images: Tensor, labels: Tensor, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _computed(module, images, labels, bn_mode, update, drawn)[0]

    network = _with_drawn(_in_mode(module, bn_mode), drawn)
    step = ClientStep(network, defended_images, defended_labels, bn_mode, update, compute, drawn)
    # A mapping of its own, so that a defense which edits it leaves what the self-check compares with.
    sent = defense.on_step(dict(computed), step, generator)
    return ClientUpdate(sent, computed, undefended, defended_images, defended_labels, buffers, drawn)


@torch.no_grad()
def _of_all_classes(probabilities: Tensor, module: nn.Module, images: Tensor) -> Tensor:
    """The probabilities with zeros for the classes after the last one that the defense had to name."""
    # In eval mode: a pass that only counts the logits must move no statistics.
    classes = _in_mode(module, "eval")(images[:1]).shape[1]
    return nn.functional.pad(probabilities, (0, classes - probabilities.shape[1]))


def _computed(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    bn_mode: str,
    update: str,
    drawn: Mapping[str, Tensor] = MappingProxyType({}),
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What follows from the batch, by parameter, and the network's buffers afterwards."""
    network = _in_mode(module, bn_mode)
    parameters = {name: value.detach().requires_grad_(True) for name, value in trained_parameters(module).items()}

    def logits(parameters: Parameters, images: Tensor) -> Tensor:
        # Not through the attacker's `Victim`: the self-check would then compare a thing with itself.
        return call_with(network, {**parameters, **drawn}, images)

    values = create_update(update).compute(logits, parameters, images, labels, create_graph=False)
    # Copies, because in eval mode the network is the caller's own.
    return dict(zip(parameters, values, strict=True)), {name: b.clone() for name, b in network.named_buffers()}


def _in_mode(module: nn.Module, bn_mode: str) -> nn.Module:
    """The network itself where its forward pass in this mode changes nothing in it, else a copy in this mode."""
    if bn_mode == "eval" and not any(part.training for part in module.modules()):
        return module
    network = copy.deepcopy(module).eval()
    if bn_mode == "train":
        for layer in bn_layers(network):
            layer.train()
            layer.register_forward_pre_hook(_refuse_single_values)
    return network


def _with_drawn(network: nn.Module, drawn: Mapping[str, Tensor]) -> nn.Module:
    """The network itself where nothing was drawn, else a copy with these buffers."""
    if not drawn:
        return network
    network = copy.deepcopy(network)
    for name, value in drawn.items():
        layer, _, buffer = name.rpartition(".")
        setattr(network.get_submodule(layer), buffer, value)
    return network


def _refuse_single_values(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    features = inputs[0]
    # PyTorch would refuse it with a plain ValueError, and the trial would count as failed instead of impossible.
    if features.numel() <= features.shape[1]:
        raise ImpossibleCellError("train mode needs more than one value per channel in a batch-norm layer")


def observe(
    update: ClientUpdate,
    victim: Victim,
    batch: Batch,
    threat_model: ThreatModel,
    defense: Defense,
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    public: Tensor | None = None,
    autoencoder: Autoencoder | None = None,
) -> Leak:
    """What the server sees of an update under a threat model; labels are granted of the undefended batch.

    `public` are normalised images (n, C, H, W) that anybody has, for statistics that are made from such; `autoencoder`
    is what they have taught.
    """
    buffers = update.buffers if threat_model.buffers == "sent" else None
    # Of the images that the network saw, after `on_batch`: no others pass through the client's batch-norm layers.
    sources = Sources(victim, _shape(update.images), images=update.images, public=public, buffers=buffers)
    return Leak(
        gradients=update.sent,
        batch_size=len(batch),
        image_shape=(batch.images.shape[1], batch.images.shape[2], batch.images.shape[3]),
        num_classes=num_classes,
        mean=mean,
        std=std,
        threat_model=threat_model.as_granted(),
        labels=granted_labels(threat_model.labels, batch.labels.to(update.images.device)),
        bn_statistics=_statistics(threat_model.bn_statistics, sources),
        transform=defense.known() if threat_model.adaptive else "",
        buffers=buffers,
        autoencoder=autoencoder,
        public=_mixed_in(defense, update.images) if threat_model.adaptive and defense.known() else None,
    )


def _mixed_in(defense: Defense, images: Tensor) -> Tensor | None:
    """The public images of a defense that mixes some in."""
    public = defense.public_like(images)
    return public if len(public) else None


def _statistics(level: str, sources: Sources) -> Statistics | None:
    try:
        return granted_statistics(level, sources)
    except StatisticsError as error:  # a network whose buffers do not say what a level is made from
        raise ImpossibleCellError(f"bn_statistics {level}: {error}") from error


def _shape(images: Tensor) -> tuple[int, int, int, int]:
    batch, channels, height, width = images.shape
    return batch, channels, height, width


def self_check(update: ClientUpdate, victim: Victim) -> None:
    """Recompute what the client computed as an attack would, from the batch it used; they must agree.

    Raises InconsistentExperimentError, because an attack on any other experiment would chase a gradient that its
    candidates cannot have.
    """

    def logits(parameters: Parameters, images: Tensor) -> Tensor:
        # With what the client drew inside its network: no attack is told, but here the question is the declared state.
        return call_with(victim.module, {**parameters, **update.drawn}, images)

    recomputed = victim.update_kind.compute(
        logits if update.drawn else victim.logits,
        victim.named_parameters,
        update.images,
        update.labels,
        create_graph=False,
    )
    names = victim.parameter_names
    difference = torch.stack([(g - update.computed[n]).norm() for n, g in zip(names, recomputed, strict=True)]).norm()
    length = torch.stack([value.norm() for value in update.computed.values()]).norm()
    # Negated, so that a NaN is refused too.
    if not bool(difference <= SELF_CHECK_TOLERANCE * length):
        raise InconsistentExperimentError(
            f"the client's gradient is not that of its batch under the declared state: they differ by {difference:.3g} "
            f"at a norm of {length:.3g}; check bn_mode and the victim's weights"
        )


@dataclass(frozen=True)
class Difference:
    """What a defense does to the direction and the length of what the server learns from."""

    cosine: float
    relative_error: float | None


def update_difference(update: ClientUpdate) -> Difference:
    """The update as sent against the undefended one, over all parameters: cosine, and ||sent - true|| / ||true||.

    1 and 0 without a defense. The cosine is 0 where either is zero; there is no relative error of a true zero.
    """
    along = sent_square = plain_square = apart = 0.0
    for name, value in update.undefended.items():
        # In double precision, so that the rounding of millions of products does not show in the cosine.
        plain, sent = value.flatten().double(), update.sent[name].flatten().double()
        along += float(sent @ plain)
        sent_square += float(sent @ sent)
        plain_square += float(plain @ plain)
        apart += float((sent - plain).square().sum())
    length = math.sqrt(sent_square * plain_square)
    error = math.sqrt(apart / plain_square) if plain_square else None
    return Difference(along / length if length else 0.0, error)
