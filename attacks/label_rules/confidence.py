"""Rules that estimate the batch's mean confidence from other images: Geng's and ZLG+ (`rlu.py` has a third).

With the true mean confidence p of class c, B (p - bias gradient) is the count of c exactly.
"""

from torch import Tensor

from gradinv.attacks.label_rules.assumptions import AUXILIARY_IMAGES, FIRST_STEP, NON_NEGATIVE_FEATURES, UNTRAINED
from gradinv.attacks.label_rules.evidence import Evidence, Responses
from gradinv.attacks.label_rules.registry import register_rule
from gradinv.attacks.label_rules.rule import Rule


@register_rule("geng", source="ZLG: Geng et al. 2021, as in Dimitrov et al. 2022")
class Geng(Rule):
    """B (p_c - s_c / O): mean confidences p and mean feature sum O are those of random normal images."""

    assumptions = (NON_NEGATIVE_FEATURES, UNTRAINED, FIRST_STEP)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts, not rounded."""
        return _from_sums(evidence, evidence.classifier.on_randn)


@register_rule("zlg_plus", source="ZLG+: Chang and Zhu, ICML 2024", letter="D")
class ZLGPlus(Rule):
    """The same with the mean confidences and feature sum of auxiliary images.

    Of several local steps it is the mean of the estimates with the network before the first and after the last.
    """

    assumptions = (AUXILIARY_IMAGES, NON_NEGATIVE_FEATURES)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts, not rounded."""
        before = _from_sums(evidence, evidence.auxiliary_images.responses)
        if evidence.steps == 1:
            return before
        return (before + _from_sums(evidence, evidence.auxiliary_after_steps.responses)) / 2


def _from_sums(evidence: Evidence, responses: Responses) -> Tensor:
    # s_c is the mean of (p_c - whether c is true) times the features' sum, which is divided out as if it were constant.
    return evidence.batch_size * (responses.mean_confidence - evidence.sums / responses.mean_feature_sum)
