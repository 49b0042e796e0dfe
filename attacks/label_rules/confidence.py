"""Rules that estimate the batch's mean confidence from other images: Geng's, ZLG+ and RLU.

With the true mean confidence p of class c, B (p - bias gradient) is the count of c exactly.
"""

from torch import Tensor

from gradinv.attacks.label_rules.assumptions import AUXILIARY_IMAGES, BIAS, NON_NEGATIVE_FEATURES, UNTRAINED
from gradinv.attacks.label_rules.evidence import Evidence, Responses
from gradinv.attacks.label_rules.registry import register_rule
from gradinv.attacks.label_rules.rule import Rule


@register_rule("geng", source="ZLG: Geng et al. 2021, as in Dimitrov et al. 2022")
class Geng(Rule):
    """B (p_c - s_c / O): mean confidences p and mean feature sum O are those of random normal images."""

    assumptions = (NON_NEGATIVE_FEATURES, UNTRAINED)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts, not rounded."""
        return _from_sums(evidence, evidence.classifier.on_randn)


@register_rule("zlg_plus", source="ZLG+: Chang and Zhu, ICML 2024", letter="D")
class ZLGPlus(Rule):
    """The same with the mean confidences and feature sum of auxiliary images."""

    assumptions = (AUXILIARY_IMAGES, NON_NEGATIVE_FEATURES)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts, not rounded."""
        return _from_sums(evidence, evidence.auxiliary_images.responses)


@register_rule("rlu", source="RLU: Chang and Zhu, ICML 2024, one step", letter="D")
class RLU(Rule):
    """Counts in proportion to max(0, e_c - g_c), with g the gradient of the bias.

    e is the softmax of mean logits: that of class c over the auxiliary images that are not of class c.
    """

    assumptions = (AUXILIARY_IMAGES, BIAS)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts, not rounded and of another scale."""
        return evidence.auxiliary_images.logits_of_others.softmax(dim=0) - evidence.bias_gradients


def _from_sums(evidence: Evidence, responses: Responses) -> Tensor:
    # s_c is the mean of (p_c - whether c is true) times the features' sum, which is divided out as if it were constant.
    return evidence.batch_size * (responses.mean_confidence - evidence.sums / responses.mean_feature_sum)
