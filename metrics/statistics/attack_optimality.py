"""Optimality: how close an attack comes to the per-image best of all attacks compared."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from gradinv.metrics.images import Facts

Image = TypeVar("Image")


def optimality(attacks: Sequence[Mapping[Image, float]], facts: Facts) -> list[float] | None:
    """The optimality of each attack, in [0, 1]; 1: on every image as good as the best of all.

    An attack's curve is the share of images that it recovers better than a threshold. Above the threshold that the
    per-image best passes on every image, its area is divided by that of the best's curve (Cinà et al. 2024,
    "AttackBench", arXiv 2404.19460: local optimality, with the metric in place of the perturbation size). `attacks`
    map images to finite values; images that not all of them have do not count. None where no image is left, or where
    the best is equally good on all, so that its curve has no area. Depends on who takes part; needs equal budgets.

    >>> from gradinv.metrics.images.facts import facts_of
    >>> optimality([{"a": 10.0, "b": 30.0}, {"a": 20.0, "b": 24.0}], facts_of("psnr"))
    [1.0, 0.4]
    """
    shared = [image for image in attacks[0] if all(image in values for values in attacks)]
    if not shared:
        return None
    values = facts.sign * np.array([[attack[image] for image in shared] for attack in attacks])
    best = values.max(0)
    # The area under a curve of shares above its start is the mean of what the values exceed the start by.
    areas, best_area = np.maximum(values - best.min(), 0).mean(1), (best - best.min()).mean()
    return [float(area) for area in areas / best_area] if best_area > 0 else None
