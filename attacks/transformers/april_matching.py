"""APRIL by optimisation: gradient matching that weighs the gradient of the positions once more."""

from typing import Annotated, Literal

from pydantic import Field

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact import LU_2022
from gradinv.attacks.gradient_matching import (
    Adam,
    GradientMatching,
    LabelPolicy,
    Objective,
    Prediction,
    ReconstructionError,
    TotalVariation,
    create_distance,
    lacks_scale,
    step_decay,
)
from gradinv.attacks.registry import register_attack, register_preset
from gradinv.attacks.transformers.positions import NoPositionsError, PositionDistance, position_embeddings
from gradinv.attacks.victim import Victim


@register_attack("april_matching", paper=LU_2022, needs="a transformer with a trained absolute position embedding")
class AprilMatching(GradientMatching):
    """Squared l2 over all gradients plus `alpha_position` times 1 - cosine over that of the positions (Lu et al. 2022).

    The gradient of a learnt position embedding is that of the embedded tokens, of several images their mean. No
    attention has to see the tokens bare, as for `april`: this is the paper's variant for any vision transformer. With
    weight 0 it is gradient matching and nothing else. We had the paper's objective from three reproductions and not
    its weight, rate or iterations: those here are ours, as are total variation and the rate that falls by 10 at 3/8,
    5/8 and 7/8 of the iterations. A reproduction that compares positions by `squared_l2` took weights from 2 to 50.
    `sign`: Adam by the sign of the gradient alone, as in `inverting_gradients`. `distance` and `init`: by key.
    """

    def __init__(
        self,
        *,
        alpha_position: Annotated[float, Field(ge=0)] = 100.0,
        alpha_tv: Annotated[float, Field(ge=0)] = 0.0,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        iterations: Annotated[int, Field(ge=1)] = 1_500,
        restarts: Annotated[int, Field(ge=1)] = 1,
        label_rule: str | None = None,
        distance: str = "squared_l2",
        position_distance: Literal["cosine", "squared_l2"] = "cosine",
        sign: bool = True,
        init: str = "normal",
        alpha_prediction: Annotated[float, Field(ge=0)] = 0.0,
        alpha_autoencoder: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(
            distance=create_distance(distance),
            priors=[
                TotalVariation(alpha_tv),
                Prediction(alpha_prediction),
                ReconstructionError(alpha_autoencoder),
            ],
            optimizer=Adam(lr, step_decay(3 / 8, 5 / 8, 7 / 8), sign=sign),
            iterations=iterations,
            restarts=restarts,
            labels=LabelPolicy(rule=label_rule or "sum", rule_needs_single_image=label_rule is None),
            init=init,
        )
        self.alpha_position, self.position_distance = alpha_position, create_distance(position_distance)

    @property
    def search_space(self) -> dict[str, float]:
        """The weight of the positions, the learning rate, and the weight of the prior that the paper has not."""
        return {"alpha_position": 1e3, "lr": 10.0, "alpha_tv": 1e3}

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Also a network without a trained absolute position embedding, where that has a weight."""
        reason = super().reason_to_skip(conditions)
        if reason or not self.alpha_position:
            return reason
        if conditions.network is not None:
            try:
                position_embeddings(conditions.network.named_parameters())
            except NoPositionsError as error:
                return str(error)
        return lacks_scale(self.position_distance, conditions)

    def objective(self, victim: Victim, transform: str) -> Objective:
        """The objective with the positions' gradient compared beside all gradients."""
        # Blind to the update nothing is weighed, and without a weight no positions are asked for.
        if self.distance is None or not self.alpha_position:
            return super().objective(victim, transform)
        names = position_embeddings(victim.named_parameters.items())
        places = tuple(victim.parameter_names.index(name) for name in names)
        distance = PositionDistance(self.distance, self.position_distance, self.alpha_position, places)
        return Objective(victim, distance, self.priors, transform=transform, autocast=self.engine.autocast)


# Gradient matching and nothing else: what the positions are worth is the difference to it.
register_preset("april_matching.no_position", alpha_position=0.0)
