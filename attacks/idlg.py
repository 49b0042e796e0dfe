"""Improved Deep Leakage from Gradients: the label is read off the gradient, then DLG with that label."""

from typing import Annotated

from pydantic import Field

from gradinv.attacks.dlg import DLG
from gradinv.attacks.gradient_matching import LabelPolicy
from gradinv.attacks.registry import Paper, register_attack, register_preset

ZHAO_2020 = Paper(
    title="iDLG: Improved Deep Leakage from Gradients",
    authors="Bo Zhao, Konda Reddy Mopuri, Hakan Bilen",
    venue="arXiv 2001.02610",
    year=2020,
    url="https://arxiv.org/abs/2001.02610",
)


@register_attack("idlg", paper=ZHAO_2020, letter="A", needs="a classifier whose gradient tells the label")
class IDLG(DLG):
    """DLG with the inferred label in place of optimised ones (Zhao et al. 2020, section 3).

    The label is always inferred, also where it is granted: by the sign rule for one image, by its sum-rule extension
    (not part of the paper, which treats one image only) or another `label_rule` for more.
    """

    def __init__(
        self,
        *,
        lr: Annotated[float, Field(gt=0)] = 1.0,
        iterations: Annotated[int, Field(ge=1)] = 300,
        restarts: Annotated[int, Field(ge=1)] = 1,
        tolerance: Annotated[float, Field(ge=0)] = 1e-6,
        label_rule: str = "sum",
        distance: str = "squared_l2",
        init: str = "normal",
        alpha_prediction: Annotated[float, Field(ge=0)] = 0.0,
        alpha_autoencoder: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        # A granted label would leave nothing of iDLG: its inference is all that sets it apart from DLG.
        # Before DLG's own constructor, which reads it.
        self.label_policy = LabelPolicy(rule=label_rule, always_infer=True)
        super().__init__(
            lr=lr,
            iterations=iterations,
            restarts=restarts,
            tolerance=tolerance,
            distance=distance,
            init=init,
            alpha_prediction=alpha_prediction,
            alpha_autoencoder=alpha_autoencoder,
        )


# CPL (Wei et al. 2020, "A Framework for Evaluating Gradient Leakage Attacks in Federated Learning"): a patterned start
# and a term of the label. Its weight is the one that breaching has; the paper's belongs to a classifier of its own.
register_preset("idlg.cpl", init="patterned", alpha_prediction=1.0)
