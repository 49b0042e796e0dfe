"""Data leakage in federated averaging: a set of images for every epoch, tied by what no order of them changes."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching import (
    Adam,
    Candidate,
    Distance,
    Given,
    GradientMatching,
    LabelPolicy,
    MatchedTrial,
    Objective,
    Prior,
    ReconstructionError,
    Recorded,
    TotalVariation,
    paired,
    slot_orders,
)
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack, register_preset
from gradinv.attacks.transforms import UnansweredError
from gradinv.attacks.update import Update, WeightUpdate
from gradinv.attacks.victim import Victim

DIMITROV_2022 = Paper(
    title="Data Leakage in Federated Averaging",
    authors="Dimitar I. Dimitrov, Mislav Balunović, Nikola Konstantinov, Martin Vechev",
    venue="TMLR 2022",
    year=2022,
    url="https://arxiv.org/abs/2206.12395",
)
FEATURES = 96
"""Random 3 x 3 convolutions of the invariant `max`."""


@register_attack("dimitrov", paper=DIMITROV_2022, needs="a weight update whose rate and number of steps are known")
class Dimitrov(GradientMatching):
    """Simulate the local training with images of its own for every epoch, in guessed orders (Dimitrov et al. 2022).

    Which images a step of the client saw is not known, but every epoch sees all of them: an order-invariant prior draws
    the epochs' mean images (`mean`), or the maxima over the images of random features (`max`), to each other. In the
    end the epochs are matched one to one within equal labels and averaged. The distance is squared l2 with weights
    exp(-`decay` * place) over the parameters, from the input on; labels, where none are granted, are those of Geng's
    rule. The paper's distance counts for more from step to step and its penalty on pixels outside the range is a box
    here. Default weights are ours, since the paper's belong to other units: tried on three pairs of photographs of 8
    pixels and the LeNet alone, and not tuned. Every epoch starts with the same images, which the paper does not say.
    """

    def __init__(
        self,
        *,
        invariant: Literal["mean", "max"] = "mean",
        alpha_order: Annotated[float, Field(ge=0)] = 1e-2,
        alpha_tv: Annotated[float, Field(ge=0)] = 1e-5,
        decay: Annotated[float, Field(ge=0)] = 1.0,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        iterations: Annotated[int, Field(ge=1)] = 200,
        restarts: Annotated[int, Field(ge=1)] = 1,
        label_rule: str = "geng",
        init: str = "normal",
        alpha_autoencoder: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(
            distance=DecayingL2(decay),
            priors=[
                TotalVariation(alpha_tv),
                OrderInvariance(alpha_order, invariant),
                ReconstructionError(alpha_autoencoder),
            ],
            optimizer=Adam(lr, lambda step, steps: 0.995 ** (200 / 10 * step / steps)),
            iterations=iterations,
            restarts=restarts,
            labels=LabelPolicy(rule=label_rule),
            init=init,
        )

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Also where a gradient is sent, which has no epochs."""
        if conditions.threat_model.update == "gradient":
            return "simulates local training, of which a gradient has none; needs a weight update"
        return super().reason_to_skip(conditions)

    def start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
        """Images (E B, C, H, W), those of the first epoch, then those of the next: every epoch starts with the same."""
        # From equal starts the order-invariant prior is zero: what parts the epochs is the update.
        (images,) = super().start(leak, victim, seed)
        # Laid out epoch after epoch, as `SeparateEpochs` counts its slots and `unflatten` parts them again.
        return [images.repeat(simulated(victim.update_kind)[1], 1, 1, 1)]

    def objective(self, victim: Victim, transform: str) -> Objective:
        """The objective of the images of all epochs."""
        return EpochsObjective(victim, self.distance, self.priors, transform, self.engine.autocast)

    def _reconstruction(self, trial: MatchedTrial, victim: Victim, budget: int) -> Reconstruction:
        """With the epochs averaged, in what is returned and in what is shown of its way."""
        # The attack gives B images as every other does; that it carried E B of them is its own affair.
        result = super()._reconstruction(trial, victim, budget)
        size = trial.leak.batch_size
        return replace(
            result,
            images=averaged(result.images, size, trial.labels),
            final=averaged(result.final, size, trial.labels),
            snapshots=tuple(averaged(images, size, trial.labels) for images in result.snapshots),
        )


register_preset("dimitrov.max", invariant="max")


def simulated(kind: Update) -> tuple[Update, int]:
    """What is computed for images of their own for every epoch, and how many epochs; a gradient has one."""
    return (SeparateEpochs(kind), kind.epochs) if isinstance(kind, WeightUpdate) else (kind, 1)


def averaged(images: Tensor, batch_size: int, labels: Tensor | None) -> Tensor:
    """(B, C, H, W): the mean over the epochs of images (E B, C, H, W), each epoch's in the order of the first one's.

    Slots trade places within equal labels (B,), so that the sum of squared differences is smallest.
    """
    epochs = images.unflatten(0, (-1, batch_size))
    # Within an epoch nothing ties a slot to an image but its label, so that epochs may hold them in other orders.
    orders = slot_orders(epochs, labels, reference=0)
    return torch.stack([part[order] for part, order in zip(epochs, orders, strict=True)]).mean(0)


class SeparateEpochs(WeightUpdate):
    """The same local training where every epoch has images of its own: E B of them, epoch by epoch.

    Where the order is unknown, each epoch's is guessed; no client's is drawn like this.
    """

    def __init__(self, kind: WeightUpdate) -> None:
        order = "guessed" if kind.order == "unknown" else kind.order
        super().__init__(kind.lr, kind.epochs, kind.minibatch, kind.momentum, kind.weight_decay, order)
        self.kind = kind

    def _minibatches(self, batch_size: int) -> list[list[int] | None]:
        """The slots that every step sees, of all E B."""
        # Called with E B slots: the steps of the client's plan for B of them are laid out epoch after epoch.
        size = batch_size // self.epochs
        if self.order != "guessed":
            steps = self.kind._minibatches(size)
            count = len(steps) // self.epochs
            return [
                [index // count * size + slot for slot in slots or range(size)] for index, slots in enumerate(steps)
            ]
        guessed: list[list[int] | None] = []
        for epoch in range(self.epochs):
            slots = list(range(epoch * size, (epoch + 1) * size))
            # Fixed by the epoch alone: an objective that changes between evaluations cannot be descended.
            random.Random(f"guess {epoch}").shuffle(slots)
            length = self.minibatch or size
            guessed += [slots[start : start + length] for start in range(0, size, length)]
        return guessed


class EpochsObjective(Objective):
    """The objective of images (E B, C, H, W) of E epochs, whose update is that of an epoch after the other.

    Priors see them as (E, B, C, H, W).
    """

    def __init__(
        self, victim: Victim, distance: Distance | None, priors: Sequence[Prior], transform: str, autocast: bool
    ) -> None:
        super().__init__(victim, distance, priors, transform=transform, autocast=autocast)
        self.kind, self.epochs = simulated(victim.update_kind)

    @property
    def terms(self) -> tuple[object, ...]:
        """With the simulation, which is not the client's own."""
        return (*super().terms, self.kind)

    def begin(self, leak: Leak) -> list[Tensor]:
        """UnansweredError where the client drew something for its batch: an epoch's images have no place in it."""
        if self.secrets:
            raise UnansweredError(f"images of their own for every epoch do not go with {self.defense.key}")
        return super().begin(leak)

    def _update(
        self, candidate: Sequence[Tensor], labels: Tensor, given: Given, buffers: Mapping[str, Tensor]
    ) -> Sequence[Tensor]:
        weights, everyone = self.weights_of(given), labels.repeat(self.epochs)
        return self.victim.update(candidate[0], everyone, kind=self.kind, parameters=weights, buffers=buffers)

    def _functional_update(
        self, candidate: Sequence[Tensor], labels: Tensor, given: Given, state: dict[str, Tensor]
    ) -> tuple[Sequence[Tensor], Recorded]:
        everyone = labels.repeat(self.epochs)
        return self.victim.functional_update(candidate[0], everyone, state, self._recorded, kind=self.kind)

    def _expected(self, update: Sequence[Tensor], given: Given, batch_size: int) -> Sequence[Tensor]:
        # The expected update is stated for the client's B images, not for the E B that stand for them.
        return super()._expected(update, given, batch_size // self.epochs)

    def _penalties(self, candidate: Candidate, given: Given) -> Tensor:
        images = candidate.images.unflatten(0, (self.epochs, -1))
        return super()._penalties(replace(candidate, images=images), given)


class OrderInvariance(Prior):
    """Mean over pairs of epochs of the squared l2 distance of what no order of the images changes (Eq. 5).

    That is the mean image, or of `FEATURES` random 3 x 3 convolutions the maximum over the images at every place.

    >>> twice = torch.rand(1, 2, 3, 4, 4).expand(2, -1, -1, -1, -1)
    >>> OrderInvariance(1.0, "max")(Candidate(torch.cat([twice[:1], twice[1:].flip(1)]))).item()
    0.0
    """

    term = "order"

    def __init__(self, weight: float, invariant: str) -> None:
        super().__init__(weight)
        self.invariant = invariant

    def __call__(self, candidate: Candidate) -> Tensor:
        """The penalty of images (E, B, C, H, W), not yet weighted; 0 for those of one epoch (B, C, H, W)."""
        images = candidate.images if candidate.images.ndim == 5 else candidate.images[None]
        seen = images.mean(1) if self.invariant == "mean" else self._maxima(images)
        # Over all pairs of E points the mean of the squared distances is twice their variance.
        return 2 * (seen - seen.mean(0)).square().sum() / len(seen)

    def _maxima(self, images: Tensor) -> Tensor:
        # The same features at every evaluation: the objective must not change under the optimizer.
        generator = torch.Generator().manual_seed(0)
        channels = images.shape[2]
        kernels = torch.randn(FEATURES, channels, 3, 3, generator=generator) / math.sqrt(9 * channels)
        features = torch.nn.functional.conv2d(images.flatten(0, 1), kernels.to(images), padding=1)
        return features.unflatten(0, images.shape[:2]).amax(1)


class DecayingL2(Distance):
    """Sum over the parameters of squared l2 norms, the one in place l times exp(-decay l) (section 4 of the paper).

    >>> DecayingL2(0.0).value([torch.tensor([3.0, 4.0]), torch.ones(1)], [torch.zeros(2), torch.zeros(1)]).item()
    26.0
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        squares = [(g - t).square().sum() for g, t in paired(gradients, prepared)]
        return torch.stack([math.exp(-self.decay * place) * square for place, square in enumerate(squares)]).sum()
