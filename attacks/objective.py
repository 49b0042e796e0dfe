"""What is minimised, what selects and what the curve shows: the distance plus the weighted priors of a candidate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from attacks.distances import Distance
from attacks.leak import Leak
from attacks.priors import Candidate, Prior
from attacks.victim import Victim

Recorded = dict[int, tuple[Tensor, Tensor]]


class Objective:
    """The objective of one leak, as a function of images and labels.

    `distance` None leaves the gradient out. Batch-norm statistics come from the same forward pass as the gradient.
    """

    def __init__(self, leak: Leak, victim: Victim, distance: Distance | None, priors: Sequence[Prior]) -> None:
        self.victim = victim
        self.distance = distance.bind([leak.gradients[name] for name in victim.parameter_names]) if distance else None
        self.priors = [(prior.weight, prior.bind(leak)) for prior in priors]
        self.needs_bn_statistics = any(prior.needs_bn_statistics for prior in priors)
        self._recorded: Recorded = {}

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Inside the block the objective may be called; the victim carries hooks only here, and only if needed."""
        with self.victim.recording_bn_statistics(self.needs_bn_statistics) as self._recorded:
            yield

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The scalar objective of normalised images (B, C, H, W) and class indices (B,) or probabilities."""
        gradients = None if self.distance is None else self.victim.gradients(images, labels)
        if gradients is None and self.needs_bn_statistics:
            self.victim.module(images)
        return self._sum(images, gradients, self._recorded)

    def functional(self, images: Tensor, labels: Tensor) -> Tensor:
        """The same scalar without a tape of its own, for use inside the transforms of `torch.func`."""
        if self.distance is None:
            return self(images, labels)
        gradients, recorded = self.victim.functional_gradients(images, labels, self._recorded)
        return self._sum(images, gradients, recorded)

    def _sum(self, images: Tensor, gradients: Sequence[Tensor] | None, recorded: Recorded) -> Tensor:
        terms = [] if gradients is None or self.distance is None else [self.distance(gradients)]
        candidate = Candidate(images, [recorded[index] for index in range(len(recorded))])
        terms += [weight * prior(candidate) for weight, prior in self.priors]
        return torch.stack(terms).sum()
