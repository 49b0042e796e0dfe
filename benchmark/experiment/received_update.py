"""What the server receives in a trial: the leak of a client's update, or what a control has in its place."""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from gradinv.attacks.grants import needs_public_images
from gradinv.attacks.leak import Leak, Observation
from gradinv.attacks.victim import Victim
from gradinv.benchmark.auxiliary import TrainedAutoencoder, trained_autoencoder
from gradinv.benchmark.datasets import Batch, Dataset, public_images
from gradinv.benchmark.defenses import Defense, create_defense
from gradinv.benchmark.experiment import controls
from gradinv.benchmark.experiment.client import (
    ClientUpdate,
    Difference,
    client_update,
    observe,
    self_check,
    update_difference,
)
from gradinv.benchmark.experiment.rounds import later_rounds
from gradinv.benchmark.experiment.spec import TrialSpec
from gradinv.benchmark.victims import LoadedVictim, normalise, zero_gradient_share


@dataclass(frozen=True)
class ReceivedUpdate:
    """What the server has of a client's update, and in numbers what that update was like."""

    leak: Leak
    zero_gradient_share: float
    difference: Difference
    upload_bytes: float
    notes: tuple[str, ...] = ()


def received_update(
    spec: TrialSpec, dataset: Dataset, batch: Batch, loaded: LoadedVictim, victim: Victim
) -> ReceivedUpdate:
    """What a client's update of the batch hands over.

    For a control that replaces the gradient or the statistics, all else is the private batch's. ImpossibleCellError
    where there is no update or no other batch.
    """
    update = _update(spec, batch, loaded, victim)
    leak = _leak(spec, dataset, batch, loaded, victim, update)
    leak = replace(leak, later=_later(spec, batch, loaded, update))
    leak, note = _controlled(leak, spec, dataset, batch, loaded, victim)
    # In numbers, so that the update's own tensors, as large as the network, are not kept while the attack runs.
    return ReceivedUpdate(
        leak,
        zero_gradient_share(update.undefended.values()),
        update_difference(update),
        create_defense(spec.defense).upload_bytes(update.sent),
        _notes(spec, dataset) + ((note,) if note else ()),
    )


def _leak(
    spec: TrialSpec, dataset: Dataset, batch: Batch, loaded: LoadedVictim, victim: Victim, update: ClientUpdate
) -> Leak:
    """What the threat model grants of the batch and its update, in the first round."""
    public = public_images(dataset) if needs_public_images(spec.threat_model.bn_statistics) else None
    taught = autoencoder_of(spec, dataset)
    return observe(
        update,
        victim,
        batch,
        spec.threat_model,
        create_defense(spec.defense),
        num_classes=len(dataset.classes),
        mean=loaded.mean,
        std=loaded.std,
        public=None
        if public is None
        else normalise(public.to(spec.device, spec.threat_model.dtype), loaded.mean, loaded.std),
        autoencoder=None if taught is None else {n: t.to(spec.device) for n, t in taught.tensors.items()},
    )


def _controlled(
    leak: Leak, spec: TrialSpec, dataset: Dataset, batch: Batch, loaded: LoadedVictim, victim: Victim
) -> tuple[Leak, str]:
    """The leak with what the trial's control replaces of it, and a note where the other batch is unusual."""
    if spec.control == "noise_gradient":
        return controls.noise_gradient(leak, spec.seed("noise_gradient"), loaded.module), ""
    if spec.control not in ("other_gradient", "other_statistics"):
        return leak, ""
    decoy, unusual = controls.decoy_batch(dataset, batch, spec.repetition)
    other = _update(spec, decoy, loaded, victim)
    note = f"{spec.control}: {unusual}" if unusual else ""
    if spec.control == "other_statistics":
        return replace(leak, bn_statistics=_leak(spec, dataset, decoy, loaded, victim, other).bn_statistics), note
    # All rounds are the other batch's, for the states tell what was received before them.
    return replace(leak, gradients=other.sent, later=_later(spec, decoy, loaded, other)), note


def _notes(spec: TrialSpec, dataset: Dataset) -> tuple[str, ...]:
    """What a reader must know of what was handed over."""
    notes = _warnings(spec, create_defense(spec.defense))
    if needs_public_images(spec.threat_model.bn_statistics):
        notes += (f"public images: {len(public_images(dataset))} of the tuning split of {dataset.name}",)
    taught = autoencoder_of(spec, dataset)
    if taught is not None:
        notes += (f"autoencoder: {taught.words}, sha256 {taught.sha256[:16]}",)
    return notes


def autoencoder_of(spec: TrialSpec, dataset: Dataset) -> TrainedAutoencoder | None:
    """What public images have taught, where the threat model grants them and it has been trained."""
    return None if spec.threat_model.auxiliary_images == "none" else trained_autoencoder(dataset)


def _later(spec: TrialSpec, batch: Batch, loaded: LoadedVictim, first: ClientUpdate) -> tuple[Observation, ...]:
    """The batch's updates in the rounds after the first, each with what its defense draws anew."""
    granted = spec.threat_model

    def send(number: int, network: nn.Module) -> dict[str, Tensor]:
        there = Victim(network, bn_mode=granted.bn_mode, update=granted.known_update)
        return _update(spec, batch, replace(loaded, module=network), there, number).sent

    return later_rounds(loaded.module, first.sent, send, observations=granted.observations, server_lr=granted.server_lr)


def _warnings(spec: TrialSpec, defense: Defense) -> tuple[str, ...]:
    """What a reader must know of an attack that does not answer its defense."""
    answers = spec.threat_model.adaptive and bool(defense.known())
    if answers or not defense.disguises:
        return ()
    return (f"standard attacks may overestimate protection: the defense {' and '.join(defense.disguises)}",)


def _update(spec: TrialSpec, batch: Batch, loaded: LoadedVictim, victim: Victim, round_number: int = 1) -> ClientUpdate:
    """The defended update of a batch, checked against what the attacker's victim would compute."""
    update = client_update(
        loaded.module,
        normalise(batch.images.to(spec.device, spec.threat_model.dtype), loaded.mean, loaded.std),
        batch.labels.to(spec.device),
        bn_mode=spec.threat_model.bn_mode,
        defense=create_defense(spec.defense),
        seed=spec.seed("defense" if round_number == 1 else f"defense, round {round_number}"),
        update=spec.threat_model.update,
    )
    granted = spec.threat_model
    if granted.known_update != granted.update:  # what the attacker does not know must be checked all the same
        victim = Victim(loaded.module, bn_mode=granted.bn_mode, update=granted.update)
    self_check(update, victim)
    return update
