"""Rules that take the labels out of the gradient one by one: LLG, LLG*, LLG+, and the same on the bias.

Every image of class c lowers the score of c by about the same `impact`. Classes with a negative score occur; each gives
up one impact, and then the lowest class again and again, until there are as many labels as images.
"""

from typing import Literal

import torch
from torch import Tensor

from gradinv.attacks.label_rules.assumptions import (
    AUXILIARY_IMAGES,
    BIAS,
    FIRST_STEP,
    NON_NEGATIVE_FEATURES,
    ONE_STEP,
    UNTRAINED,
)
from gradinv.attacks.label_rules.evidence import Evidence, Responses
from gradinv.attacks.label_rules.registry import register_rule
from gradinv.attacks.label_rules.rounding import LabelInferenceError
from gradinv.attacks.label_rules.rule import Rule


def taken_one_by_one(scores: Tensor, impact: float, batch_size: int, offset: Tensor | float = 0.0) -> Tensor:
    """Counts (C,): negative scores once each, lowest first, then argmin of scores - offset, each time less an impact.

    `impact` is negative, LabelInferenceError where it is not. `offset` is what a class's score is when it does not
    occur.

    >>> taken_one_by_one(torch.tensor([-0.6, 0.1, -0.25]), -0.2, 4).tolist()
    [3, 0, 1]
    """
    if not impact < 0:
        raise LabelInferenceError(
            f"one image's impact on its class is estimated at {impact:.3g}, and must be below zero"
        )
    counts = torch.zeros(len(scores), dtype=torch.int64)
    negative = (scores < 0).nonzero().flatten()
    counts[negative[scores[negative].argsort(stable=True)][:batch_size]] = 1
    # Impacts are negative: what a class has given up raises its score.
    left = scores - counts * impact - offset
    for _ in range(batch_size - int(counts.sum())):
        lowest = int(left.argmin())
        counts[lowest] += 1
        left[lowest] -= impact
    return counts


@register_rule("llg", source="LLG: Wainakh et al., PETS 2022, Algorithm 1")
class LLG(Rule):
    """The impact is estimated from the gradient itself: (1 + 1/C) / B times the sum of the negative scores."""

    assumptions = (NON_NEGATIVE_FEATURES, UNTRAINED, FIRST_STEP)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts."""
        scores = evidence.sums
        # At even confidences an image changes its class's score by 1 - 1/C times its features' sum, not by all of it.
        impact = float(scores.clamp_max(0).sum()) * (1 + 1 / len(scores)) / evidence.batch_size
        return taken_one_by_one(scores, impact, evidence.batch_size)


@register_rule(
    "llg_star",
    source="LLG*: Wainakh et al., PETS 2022, Algorithm 2 without data",
    variants=("llg_star[inputs=zeros]", "llg_star[inputs=ones]", "llg_star[inputs=randn]"),
)
class LLGStar(Rule):
    """Impact and offset are those of simulated batches of one class each, of made-up images."""

    assumptions = (ONE_STEP, NON_NEGATIVE_FEATURES, UNTRAINED)

    def __init__(self, *, inputs: Literal["zeros", "ones", "randn"] = "randn") -> None:
        self.inputs = inputs

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts."""
        classifier = evidence.classifier
        responses = {
            "zeros": lambda: classifier.on_zeros,
            "ones": lambda: classifier.on_ones,
            "randn": lambda: classifier.on_randn,
        }[self.inputs]()
        return _by_simulation(evidence, responses)


@register_rule("llg_plus", source="LLG+: Wainakh et al., PETS 2022, Algorithm 2", letter="D")
class LLGPlus(Rule):
    """Impact and offset are those of simulated batches of one class each, of auxiliary images."""

    assumptions = (ONE_STEP, AUXILIARY_IMAGES, NON_NEGATIVE_FEATURES)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts."""
        return _by_simulation(evidence, evidence.auxiliary_images.responses)


@register_rule("bias_corrected", source="bias-corrected LLG of the breaching library")
class BiasCorrected(Rule):
    """LLG on the gradient of the bias; the impact is the sum of the negative scores over B."""

    assumptions = (BIAS, UNTRAINED, FIRST_STEP)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts."""
        scores = evidence.bias_gradients
        return taken_one_by_one(scores, float(scores.clamp_max(0).sum()) / evidence.batch_size, evidence.batch_size)


def _by_simulation(evidence: Evidence, responses: Responses) -> Tensor:
    impact, offset = simulated_impact(responses, evidence.batch_size)
    return taken_one_by_one(evidence.sums, impact, evidence.batch_size, offset)


def simulated_impact(responses: Responses, batch_size: int) -> tuple[float, Tensor]:
    """Impact of one image of `batch_size`, and offset (C,), from what the classifier makes of some images.

    With s_j(c) the score of class j in a batch of class c alone, of these images: the impact is (1 + 1/C) / (C B) times
    the sum over c of s_c(c), the offset of j the mean over the other classes c of s_j(c).
    """
    # s_j(c) is the mean over images of (p_j - [j = c]) times the sum of the features: the images are the same for every
    # c, so that no batch need be simulated. For c other than j it does not depend on c.
    offset = responses.weighted_confidence
    classes = len(offset)
    of_class_alone = offset - responses.mean_feature_sum
    return float(of_class_alone.sum()) * (1 + 1 / classes) / (classes * batch_size), offset
