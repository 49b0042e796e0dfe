"""Improved Deep Leakage from Gradients: the label is read off the gradient, then DLG with that label."""

from typing import Annotated

from pydantic import Field

from attacks.distances import SquaredL2
from attacks.matching import GradientMatching, LabelPolicy
from attacks.optimizers import LBFGS
from attacks.registry import Paper, register_attack

ZHAO_2020 = Paper(
    title="iDLG: Improved Deep Leakage from Gradients",
    authors="Bo Zhao, Konda Reddy Mopuri, Hakan Bilen",
    venue="arXiv 2001.02610",
    year=2020,
    url="https://arxiv.org/abs/2001.02610",
)


@register_attack("idlg", paper=ZHAO_2020)
class IDLG(GradientMatching):
    """Squared l2 over images with the inferred label, minimised by L-BFGS (Zhao et al. 2020, section 3).

    The label is always inferred, also where it is granted: by the sign rule for one image, by its sum-rule extension
    (not part of the paper, which treats one image only) for more. `iterations` are L-BFGS steps of 20 evaluations each.
    """

    def __init__(
        self,
        *,
        lr: Annotated[float, Field(gt=0)] = 1.0,
        iterations: Annotated[int, Field(ge=1)] = 300,
        restarts: Annotated[int, Field(ge=1)] = 1,
        tolerance: Annotated[float, Field(ge=0)] = 1e-6,
    ) -> None:
        super().__init__(
            distance=SquaredL2(),
            optimizer=LBFGS(lr),
            iterations=20 * iterations,
            restarts=restarts,
            labels=LabelPolicy(rule="sum", always_infer=True),
            box=False,
            tolerance=tolerance,
        )
