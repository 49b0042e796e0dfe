"""What rules of label inference rest on, each with the check of whether it holds: measured, not believed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradinv.attacks.label_rules.evidence import Evidence

UNBALANCED = 2.0
"""Relative. Cross-entropy leaves rounding errors, an update drowned in noise about 1, a loss for each class more."""
CONFIDENT = 4.0
"""Largest probability over that of guessing, on random images; an untrained network has 1 to 2."""


def _never(batch_size: int, num_classes: int) -> str | None:
    return None


@dataclass(frozen=True)
class Assumption:
    """One thing a rule rests on. `fault` says in one line why it does not hold, None where it does.

    Without a `required` one the rule is skipped; where another fails, the rule is run and the line is a note.
    `fault_before` says of a batch size and a number of classes, before there is any update, why the rule is impossible.
    """

    name: str
    meaning: str
    fault: Callable[[Evidence], str | None]
    required: bool = True
    fault_before: Callable[[int, int], str | None] = _never


def _lacks_bias(evidence: Evidence) -> str | None:
    return None if evidence.bias_gradient is not None else "the classifier has no bias, or it is not sent"


def _has_negative_features(evidence: Evidence) -> str | None:
    probed = [evidence.classifier.on_randn, evidence.classifier.on_zeros]
    if evidence.auxiliary is not None:
        probed.append(evidence.auxiliary.responses)
    least = min(responses.least_feature for responses in probed)
    if least >= 0:
        return None
    return f"the features that enter the classifier go down to {least:.3g}, and the rule goes by their signs"


def _may_repeat(evidence: Evidence) -> str | None:
    equal = min(evidence.max_equal_labels, evidence.batch_size)
    return None if equal == 1 else f"finds distinct labels only, and up to {equal} in a batch may be equal"


def _exceeds_classes(batch_size: int, num_classes: int) -> str | None:
    if batch_size <= num_classes:
        return None
    return f"{batch_size} distinct labels cannot be inferred among {num_classes} classes"


def _is_a_batch(batch_size: int, num_classes: int) -> str | None:
    return None if batch_size == 1 else f"the rule is for one image, and the batch has {batch_size}"


def _is_confident(evidence: Evidence) -> str | None:
    largest = float(evidence.classifier.on_randn.confidence.amax(dim=1).mean()) * evidence.num_classes
    if largest <= CONFIDENT:
        return None
    return (
        "assumes the even confidences of an untrained network, and this one's largest on random images is "
        f"{largest:.3g} times that of guessing"
    )


def _lacks_auxiliary(evidence: Evidence) -> str | None:
    return None if evidence.auxiliary is not None else "needs auxiliary images, which are not granted"


def _is_no_cross_entropy(evidence: Evidence) -> str | None:
    imbalance = evidence.imbalance
    if math.isnan(imbalance):
        return "the classifier's gradient is zero or not finite"
    if imbalance <= UNBALANCED:
        return None
    # The two cannot be told apart from the update alone.
    cause = "the loss is no cross-entropy, or a defense changed the update"
    return f"over the classes the gradient sums to {imbalance:.2g} of its norm: {cause}"


def _takes_steps(evidence: Evidence) -> str | None:
    if evidence.steps == 1:
        return None
    return f"its equation is of one gradient, and the update is of {evidence.steps} local steps"


CROSS_ENTROPY = Assumption("cross_entropy", "the loss is the mean cross-entropy over the batch", _is_no_cross_entropy)
NON_NEGATIVE_FEATURES = Assumption(
    "non_negative_features", "what enters the classifier is nowhere negative", _has_negative_features
)
BIAS = Assumption("bias", "the classifier has a bias whose gradient is sent", _lacks_bias)
ONE_IMAGE = Assumption(
    "one_image",
    "the batch is one image",
    lambda evidence: _is_a_batch(evidence.batch_size, evidence.num_classes),
    fault_before=_is_a_batch,
)
AUXILIARY_IMAGES = Assumption("auxiliary_images", "images of the victim's domain are granted", _lacks_auxiliary)
DISTINCT_LABELS = Assumption(
    "distinct_labels",
    "no label occurs twice in a batch",
    _may_repeat,
    required=False,
    fault_before=_exceeds_classes,
)
UNTRAINED = Assumption("untrained", "confidences are about even, whatever the image", _is_confident, required=False)
ONE_STEP = Assumption("one_step", "the update is one gradient, or a multiple of one", _takes_steps)
FIRST_STEP = Assumption(
    "first_step", "confidences stay what they were before the first step", _takes_steps, required=False
)
