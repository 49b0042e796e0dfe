"""Trials for comparing engines with each other: photographs, a victim, and the leak of each batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.attack import GradientMatching
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.datasets.batches import draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import client_update, observe
from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.normalisation import denormalise, normalise
from gradinv.metrics.images.matching import match

NEAR = 0.01
"""Standard deviation of the noise on the solution, where an image has about 1."""


@dataclass(frozen=True)
class Trials:
    """Private batches (B, 3, size, size) in [0, 1], what leaked of each, and the untrained victim."""

    originals: list[Tensor]
    leaks: list[Leak]
    victim: Victim

    def run(self, attack: GradientMatching, engine: Engine, budget: int) -> list[Reconstruction]:
        """All of them, side by side where the engine takes several; every trial has its own seed."""
        attack.engine = engine
        seeds = range(len(self.leaks))
        return attack.reconstruct_together(self.leaks, self.victim, seeds=seeds, budget=budget)

    def psnr(self, found: list[Reconstruction]) -> list[float]:
        """Mean PSNR of each batch in dB, each image beside its original."""
        return [self._psnr(*pair) for pair in zip(self.originals, self.leaks, found, strict=True)]

    def _psnr(self, original: Tensor, leak: Leak, found: Reconstruction) -> float:
        images = denormalise(found.images.cpu(), leak.mean, leak.std)
        errors = (images[match(images, original)] - original).square().flatten(1).mean(dim=1)
        return float((-10 * errors.log10()).mean())


def make_trials(model: str, batch: int, size: int, count: int, device: str = "cpu") -> Trials:
    """The first `count` batches of photographs, their labels and exact batch-norm statistics granted."""
    dataset = create_dataset("photos", size)
    classes = len(dataset.classes)
    module = build_network(model, num_classes=classes, image_size=size, untrained=True).to(device)
    victim, originals, leaks = Victim(module), [], []
    for repetition in range(count):
        drawn = draw_batch(dataset, repetition=repetition, batch_size=batch)
        images, labels = normalise(drawn.images, dataset.mean, dataset.std).to(device), drawn.labels.to(device)
        defense, grants = create_defense("none"), ThreatModel(bn_statistics="exact")
        update = client_update(module, images, labels, bn_mode="eval", defense=defense, seed=0)
        leaks.append(observe(update, victim, drawn, grants, defense, classes, dataset.mean, dataset.std))
        originals.append(drawn.images)
    return Trials(originals, leaks, victim)


def matching_attack(key: str) -> GradientMatching:
    """The attack of a key; TypeError for one that does not match gradients."""
    attack = create_attack(key)
    if not isinstance(attack, GradientMatching):
        raise TypeError(f"{key} has a loop of its own")
    return attack


def random_points(trials: Trials, count: int) -> list[Tensor]:
    """Standard normal candidates, and last one beside the solution of the first trial.

    At the solution itself GradInversion's un-squared norms have a kink: any direction is a gradient there.
    """
    leak, generator = trials.leaks[0], torch.Generator().manual_seed(1)
    points = [torch.randn(leak.shape, generator=generator) for _ in range(count)]
    return [*points[1:], normalise(trials.originals[0], leak.mean, leak.std) + NEAR * points[0]]
