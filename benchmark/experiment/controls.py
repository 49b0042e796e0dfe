"""Controls: what an attack is compared with, so that its number proves what the gradient gave away.

Five attack like the attack, with what it is given of the batch replaced or left out; two reconstruct without attacking
at all.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from gradinv.attacks.attack import Attack
from gradinv.attacks.grants import are_of_batch
from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.datasets import Batch, Dataset, draw_like, mean_image
from gradinv.benchmark.experiment.client import ImpossibleCellError
from gradinv.benchmark.experiment.rounds import restated

OF_AN_ATTACK = ("other_gradient", "noise_gradient", "prior_only", "other_statistics", "no_statistics")
BLIND = ("prior_only", "other_statistics", "no_statistics")
"""Of these, the ones without a distance: they cannot share a descent with trials that see a gradient."""
WITHOUT_ATTACK = ("same_class", "mean_image")
CONTROLS = OF_AN_ATTACK + WITHOUT_ATTACK
MEANING = {
    "other_gradient": "the attack on the true update of another batch with the same labels: all that labels, prior and "
    "luck give",
    "noise_gradient": "the attack on Gaussian noise with each gradient tensor's own norm",
    "prior_only": "the attack with its gradient distance off",
    "other_statistics": "`prior_only` with the batch-norm statistics of another batch with the same labels, where "
    "those of the private one are granted: all that any statistics give",
    "no_statistics": "`prior_only` without the granted batch-norm statistics either, for attacks that use them",
    "same_class": "a random other image of the same class",
    "mean_image": "the mean of the training images",
}


def sees_mean_image(attack: str, control: str) -> bool:
    """Whether a trial is scored with the mean of the training images: on these alone its id depends on them too."""
    return control == "mean_image" or (bool(attack) and not create_attack(attack).fills_every_slot)


def is_due(control: str, attack: str, threat_model: ThreatModel) -> bool:
    """Whether this control of the attack is another trial than `prior_only`.

    >>> is_due("other_statistics", "gradinversion.fidelity", ThreatModel(bn_statistics="running"))
    False
    """
    if control not in ("other_statistics", "no_statistics"):
        return True
    if not create_attack(attack).uses_statistics:
        return False
    return control == "no_statistics" or are_of_batch(threat_model.bn_statistics)


def noise_gradient(leak: Leak, seed: int, module: nn.Module | None = None) -> Leak:
    """The leak with every gradient tensor replaced by Gaussian noise of that tensor's norm.

    In later rounds the network, at first `module`, is where noise has moved it: the true updates brought it to states
    that would tell of them. ValueError where there are such rounds and no module.
    """
    generator = torch.Generator().manual_seed(seed)
    received = [leak.gradients, *(observation.gradients for observation in leak.later)]
    sent = [{name: _noise_like(value, generator) for name, value in gradients.items()} for gradients in received]
    if not leak.later:
        return replace(leak, gradients=sent[0])
    if module is None:
        raise ValueError("noise in several rounds needs the network of the first one")
    return replace(leak, gradients=sent[0], later=restated(module, sent, leak.threat_model.server_lr))


def _noise_like(value: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn on the CPU, so that every device gets the same noise.
    noise = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
    return noise * (value.norm() / noise.norm())


def blind_attack(control: str, attack: Attack, threat_model: ThreatModel) -> Attack:
    """The attack as a control of `BLIND` runs it; ImpossibleCellError where it would be nothing, or another control."""
    if control == "no_statistics":
        return no_statistics(attack)
    if control == "other_statistics":
        _check_uses_statistics(attack)
        if not are_of_batch(threat_model.bn_statistics):
            raise ImpossibleCellError("no statistics of the private batch are granted, so `prior_only` is this control")
    return prior_only(attack)


def _check_uses_statistics(attack: Attack) -> None:
    if not attack.uses_statistics:
        raise ImpossibleCellError("the attack uses no granted statistics, so `prior_only` is this control")


def prior_only(attack: Attack) -> Attack:
    """The attack without its distance; ImpossibleCellError where it has no prior to go by."""
    blind = attack.prior_only()  # the attack itself says what is left of it: nobody else knows its terms
    if blind is None:
        raise ImpossibleCellError("the attack has no prior, so nothing is left without the gradient")
    return blind


def no_statistics(attack: Attack) -> Attack:
    """The attack without its distance and without granted statistics; ImpossibleCellError where nothing is left."""
    _check_uses_statistics(attack)
    blind = attack.no_statistics()
    if blind is None:
        raise ImpossibleCellError("the attack has no other prior, so nothing is left without statistics")
    return blind


def decoy_batch(dataset: Dataset, batch: Batch, repetition: int) -> tuple[Batch, str]:
    """Another batch with the same labels, which stands in for the private one, and a note where it is unusual.

    Where a class has no other image (a set with one image a class), images of any other class stand under the labels of
    the batch. ImpossibleCellError where the data set has not even these.
    """
    drawn = draw_like(dataset, batch, repetition=repetition, purpose="other_gradient")
    if drawn is not None:
        return drawn, ""
    others = draw_like(dataset, batch, repetition=repetition, purpose="other_gradient", any_class=True)
    if others is None:
        raise ImpossibleCellError("the data set has no other images")
    return replace(others, labels=batch.labels), "images of other classes, under the batch's labels"


def other_images(dataset: Dataset, batch: Batch, repetition: int) -> Tensor:
    """Other images of the same classes, slot by slot; ImpossibleCellError where a class has no other image."""
    drawn = draw_like(dataset, batch, repetition=repetition, purpose="same_class")
    if drawn is None:
        raise ImpossibleCellError("a class of the batch has no other image")
    return drawn.images


def without_attack(control: str, dataset: Dataset, batch: Batch, repetition: int) -> Reconstruction:
    """What `same_class` or `mean_image` offers as reconstructions, images (B, 3, H, W) in [0, 1]."""
    if control == "same_class":
        images = other_images(dataset, batch, repetition)
    else:
        images = mean_image(dataset).expand_as(batch.images)
    # No labels: the images have the right ones by construction, and a perfect label accuracy would say nothing.
    return Reconstruction(images=images, final=images, labels=batch.labels[:0], label_method="")
