"""Controls: what an attack is compared with, so that its number proves what the gradient gave away.

Three attack like the attack, with the gradient replaced or left out; two reconstruct without attacking at all.
"""

from dataclasses import replace

import torch
from torch import Tensor

from gradinv.attacks.attack import Attack
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.benchmark.datasets import Batch, Dataset, draw_like, mean_image
from gradinv.benchmark.experiment.client import ImpossibleCellError

OF_AN_ATTACK = ("other_gradient", "noise_gradient", "prior_only")
WITHOUT_ATTACK = ("same_class", "mean_image")
CONTROLS = OF_AN_ATTACK + WITHOUT_ATTACK
MEANING = {
    "other_gradient": "the attack on the true update of another batch with the same labels: all that labels, prior and "
    "luck give",
    "noise_gradient": "the attack on Gaussian noise with each gradient tensor's own norm",
    "prior_only": "the attack with its gradient distance off",
    "same_class": "a random other image of the same class",
    "mean_image": "the mean of the training images",
}


def noise_gradient(leak: Leak, seed: int) -> Leak:
    """The leak with every gradient tensor replaced by Gaussian noise of that tensor's norm."""
    generator = torch.Generator().manual_seed(seed)
    return replace(leak, gradients={name: _noise_like(value, generator) for name, value in leak.gradients.items()})


def _noise_like(value: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn on the CPU, so that every device gets the same noise.
    noise = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
    return noise * (value.norm() / noise.norm())


def prior_only(attack: Attack) -> Attack:
    """The attack without its distance; ImpossibleCellError where it has no prior to go by."""
    blind = attack.prior_only()  # the attack itself says what is left of it: nobody else knows its terms
    if blind is None:
        raise ImpossibleCellError("the attack has no prior, so nothing is left without the gradient")
    return blind


def other_batch(dataset: Dataset, batch: Batch, repetition: int, purpose: str) -> Batch:
    """Another batch with the same labels, slot by slot; ImpossibleCellError where a class has no other image."""
    drawn = draw_like(dataset, batch, repetition=repetition, purpose=purpose)
    if drawn is None:
        raise ImpossibleCellError("a class of the batch has no other image")
    return drawn


def without_attack(control: str, dataset: Dataset, batch: Batch, repetition: int) -> Reconstruction:
    """What `same_class` or `mean_image` offers as reconstructions, images (B, 3, H, W) in [0, 1]."""
    if control == "same_class":
        images = other_batch(dataset, batch, repetition, "same_class").images
    else:
        images = mean_image(dataset).expand_as(batch.images)
    # No labels: the images have the right ones by construction, and a perfect label accuracy would say nothing.
    return Reconstruction(images=images, final=images, labels=batch.labels[:0], label_method="")
