"""Rules that find distinct labels: the classes whose gradients are smallest (iDLG, GradInversion)."""

import torch
from torch import Tensor

from gradinv.attacks.label_rules.assumptions import DISTINCT_LABELS, NON_NEGATIVE_FEATURES, ONE_IMAGE
from gradinv.attacks.label_rules.evidence import Evidence
from gradinv.attacks.label_rules.registry import register_rule
from gradinv.attacks.label_rules.rounding import LabelInferenceError
from gradinv.attacks.label_rules.rule import Rule


@register_rule("sign", source="iDLG: Zhao et al. 2020, Eq. 3-4")
class Sign(Rule):
    """The one class whose weight gradient has a negative sum; an error where there is none, or more."""

    assumptions = (ONE_IMAGE, NON_NEGATIVE_FEATURES)

    def estimate(self, evidence: Evidence) -> Tensor:
        """1 for that class."""
        negative = evidence.sums < 0
        if int(negative.sum()) != 1:
            raise LabelInferenceError(f"{int(negative.sum())} classes have a negative sum, and one image leaves one")
        return negative.double()


@register_rule("sum", source="GradInversion: Yin et al. 2021, Table 1, extending iDLG")
class Sum(Rule):
    """The B classes whose weight gradients have the smallest sum: for one image the class that iDLG's sign rule finds.

    What GradInversion compares its own rule with.
    """

    assumptions = (DISTINCT_LABELS, NON_NEGATIVE_FEATURES)

    def estimate(self, evidence: Evidence) -> Tensor:
        """1 for each of them."""
        return _smallest(evidence.sums, evidence.batch_size)


@register_rule("min", source="GradInversion: Yin et al. 2021, Eq. 8")
class Min(Rule):
    """The B classes with the smallest entry over the features."""

    assumptions = (DISTINCT_LABELS, NON_NEGATIVE_FEATURES)

    def estimate(self, evidence: Evidence) -> Tensor:
        """1 for each of them."""
        # In the sum the other images of a batch may outweigh the one of class c; a feature that is strong in this image
        # alone still shows its negative sign.
        return _smallest(evidence.weight_gradient.amin(dim=1), evidence.batch_size)


def _smallest(scores: Tensor, batch_size: int) -> Tensor:
    # Stable, so that classes whose gradient is exactly zero come in the same order on every device.
    chosen = torch.zeros(len(scores), dtype=torch.float64)
    chosen[scores.argsort(stable=True)[:batch_size]] = 1
    return chosen
