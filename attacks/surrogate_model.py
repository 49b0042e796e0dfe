"""Surrogate model extension: a weight update matched by one gradient, taken between the weights before and after."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching import (
    Adam,
    CosineDistance,
    Distance,
    Given,
    GradientMatching,
    LabelPolicy,
    Objective,
    Prediction,
    Prior,
    ReconstructionError,
    Recorded,
    TotalVariation,
    step_decay,
)
from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import Paper, register_attack
from gradinv.attacks.update import Gradient
from gradinv.attacks.victim import Victim

ZHU_2023 = Paper(
    title="Surrogate Model Extension (SME): A Fast and Accurate Weight Update Attack on Federated Learning",
    authors="Junyi Zhu, Ruicong Yao, Matthew B. Blaschko",
    venue="ICML 2023",
    year=2023,
    url="https://arxiv.org/abs/2306.00127",
)


@register_attack("surrogate_model", paper=ZHU_2023)
class SurrogateModel(GradientMatching):
    """The update w_0 - w_T as the direction of one gradient, at (1 - a) w_0 + a w_T (Zhu et al. 2023, section 4).

    Cosine distance and total variation. Needs no learning rate, number of steps or order. `position` is a, where it
    starts; `lr_position` is how fast it is learnt beside the images (1e-3 in the paper), 0: not at all. At a fixed a
    of 0 this is gradient matching with the cosine. a = sigmoid of what is optimised, so that it stays in (0, 1). Adam's
    learning rate falls by 10 at 3/8, 5/8 and 7/8 of the iterations; the box is ours.
    """

    def __init__(
        self,
        *,
        alpha_tv: Annotated[float, Field(ge=0)] = 1e-2,
        lr: Annotated[float, Field(gt=0)] = 1.0,
        position: Annotated[float, Field(ge=0, le=1)] = 0.5,
        lr_position: Annotated[float, Field(ge=0)] = 1e-3,
        iterations: Annotated[int, Field(ge=1)] = 1_000,
        restarts: Annotated[int, Field(ge=1)] = 1,
        init: str = "normal",
        alpha_prediction: Annotated[float, Field(ge=0)] = 0.0,
        alpha_autoencoder: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(
            distance=CosineDistance(),
            priors=[
                TotalVariation(alpha_tv),
                Prediction(alpha_prediction),
                ReconstructionError(alpha_autoencoder),
            ],
            optimizer=Adam(lr, step_decay(3 / 8, 5 / 8, 7 / 8)),
            iterations=iterations,
            restarts=restarts,
            labels=LabelPolicy(rule="sum", rule_needs_single_image=True),
            init=init,
        )
        # Adam moves whatever it is given by about `lr` a step: a rate of its own can only lie in the variable's scale.
        self.line = Line(position, rate=4 * lr_position / lr)

    @property
    def search_space(self) -> dict[str, float]:
        """The weight of the prior and both learning rates."""
        return {"alpha_tv": 1e3, "lr": 10.0, "lr_position": 10.0}

    @property
    def beside(self) -> int:
        """The position on the line, where it is learnt."""
        return 1 if self.line.is_learnt else 0

    def start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
        """Images, and at its starting point what stands for the position."""
        (images,) = super().start(leak, victim, seed)
        return [images, self.line.start(images)] if self.line.is_learnt else [images]

    def objective(self, victim: Victim, transform: str) -> Objective:
        """The objective with the gradient of the surrogate in place of the update."""
        return SurrogateObjective(self.line, victim, self.distance, self.priors, transform, self.engine.autocast)

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Also where a gradient is sent, which says nothing of the weights after it."""
        if conditions.threat_model.update == "gradient":
            return "needs both ends of the local training: a weight update"
        return super().reason_to_skip(conditions)


class Line:
    """Where between the weights before (0) and after (1) the surrogate stands: fixed, or the sigmoid of a variable.

    >>> import torch
    >>> line = Line(0.25, rate=0.004)
    >>> round(line.position([line.start(torch.zeros(1))]).item(), 6)
    0.25
    """

    def __init__(self, position: float, rate: float) -> None:
        # At the ends the sigmoid has no slope: from there nothing would be learnt.
        self.fixed, self.rate, self.is_learnt = position, rate, rate > 0 and 0 < position < 1

    def start(self, like: Tensor) -> Tensor:
        """The variable (1,) at the first position."""
        return like.new_full((1,), math.log(self.fixed / (1 - self.fixed)) / self.rate)

    def position(self, beside: Sequence[Tensor]) -> Tensor | float:
        """The position that the variable stands for; the fixed one where there is none."""
        # Four times the rate is in it: the sigmoid's slope is a quarter at its middle.
        return (self.rate * beside[0]).sigmoid() if beside else self.fixed


class SurrogateObjective(Objective):
    """The objective whose update is the gradient of the mean loss at a point between two sets of weights."""

    def __init__(
        self,
        line: Line,
        victim: Victim,
        distance: Distance | None,
        priors: Sequence[Prior],
        transform: str,
        autocast: bool,
    ) -> None:
        super().__init__(victim, distance, priors, transform=transform, autocast=autocast)
        self.line, self.gradient = line, Gradient()

    @property
    def terms(self) -> tuple[object, ...]:
        """With the line, which decides what is computed."""
        return (*super().terms, self.line)

    @property
    def _needs_observed(self) -> bool:
        return True  # the line ends there

    def _update(
        self, candidate: Sequence[Tensor], labels: Tensor, given: Given, buffers: Mapping[str, Tensor]
    ) -> Sequence[Tensor]:
        weights = self._weights(self.weights_of(given), candidate, given)
        return self.victim.update(candidate[0], labels, kind=self.gradient, parameters=weights, buffers=buffers)

    def _functional_update(
        self, candidate: Sequence[Tensor], labels: Tensor, given: Given, state: dict[str, Tensor]
    ) -> tuple[Sequence[Tensor], Recorded]:
        weights = self._weights({name: state[name] for name in self.victim.parameter_names}, candidate, given)
        surrogate = {**state, **weights}
        return self.victim.functional_update(candidate[0], labels, surrogate, self._recorded, kind=self.gradient)

    def _weights(self, before: Mapping[str, Tensor], candidate: Sequence[Tensor], given: Given) -> dict[str, Tensor]:
        position = self.line.position(candidate[1:])
        # What is sent is w_0 - w_T: w_0 less a share of it is (1 - a) w_0 + a w_T.
        changes = zip(before.items(), given["observed"], strict=True)
        return {name: weight - position * change for (name, weight), change in changes}

    def _as_gradient(self, update: Sequence[Tensor], batch_size: int) -> list[Tensor]:
        """Both as they are: the cosine asks for no scale."""
        return list(update)
