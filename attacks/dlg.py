"""Deep Leakage from Gradients: images and soft labels, optimised together."""

from typing import Annotated

from pydantic import Field

from gradinv.attacks.gradient_matching import (
    LBFGS,
    GradientMatching,
    LabelPolicy,
    Prediction,
    ReconstructionError,
    create_distance,
)
from gradinv.attacks.registry import Paper, register_attack

ZHU_2019 = Paper(
    title="Deep Leakage from Gradients",
    authors="Ligeng Zhu, Zhijian Liu, Song Han",
    venue="NeurIPS 2019",
    year=2019,
    url="https://arxiv.org/abs/1906.08935",
)


@register_attack("dlg", paper=ZHU_2019, letter="A")
class DLG(GradientMatching):
    """Squared l2 over images and label logits, minimised by L-BFGS (Zhu et al. 2019, Algorithm 1).

    `iterations` are L-BFGS steps of 20 evaluations each (300 in the authors' code). The labels returned are the
    optimised ones. A restart stops when the distance is below `tolerance`. `distance` and `init`: by key.
    """

    label_policy = LabelPolicy(joint=True)

    def __init__(
        self,
        *,
        lr: Annotated[float, Field(gt=0)] = 1.0,
        iterations: Annotated[int, Field(ge=1)] = 300,
        restarts: Annotated[int, Field(ge=1)] = 1,
        tolerance: Annotated[float, Field(ge=0)] = 1e-6,
        distance: str = "squared_l2",
        init: str = "normal",
        alpha_prediction: Annotated[float, Field(ge=0)] = 0.0,
        alpha_autoencoder: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(
            distance=create_distance(distance),
            priors=[Prediction(alpha_prediction), ReconstructionError(alpha_autoencoder)],
            optimizer=LBFGS(lr),
            # A step of PyTorch's L-BFGS is 20 iterations by default; without line search each is one evaluation.
            iterations=20 * iterations,
            restarts=restarts,
            labels=self.label_policy,
            # No clamp: Algorithm 1 has none, and the pairs that L-BFGS remembers are its steps as it took them,
            # so that an image moved behind its back would falsify the curvature.
            box=False,
            tolerance=tolerance,
            init=init,
        )

    @property
    def search_space(self) -> dict[str, float]:
        """The learning rate, and the weights of priors that the paper has not where there are any."""
        return {"lr": 10.0, "alpha_prediction": 1e3, "alpha_autoencoder": 1e3}
