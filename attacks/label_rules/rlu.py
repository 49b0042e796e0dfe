"""RLU: counts from the mean logits of auxiliary images, followed through the client's local steps."""

import torch
from torch import Tensor

from gradinv.attacks.label_rules.assumptions import AUXILIARY_IMAGES, BIAS
from gradinv.attacks.label_rules.evidence import Evidence
from gradinv.attacks.label_rules.registry import register_rule
from gradinv.attacks.label_rules.rounding import LabelInferenceError, largest_remainders
from gradinv.attacks.label_rules.rule import Rule
from gradinv.attacks.update import WeightUpdate

ROUNDS = 5
CLOSE = 0.1
"""Logits that are so near to the measured ones are met."""


@register_rule("rlu", source="RLU: Chang and Zhu, ICML 2024", letter="D")
class RLU(Rule):
    """Counts in proportion to max(0, e_c - g_c), with g the gradient of the bias.

    e is the softmax of mean logits: that of class c over the auxiliary images that are not of class c. Of several local
    steps e is the mean over the steps, as much as each counts in the update, of the softmax of simulated logits:
    m_c falls by lr (softmax(m)_c - n_c / B) |O|^2 in a step, O the ratio of the gradients of weight and bias. The
    counts n that go in begin as those of one step, and an image is moved at a time until the last logits are the
    measured ones.
    """

    assumptions = (AUXILIARY_IMAGES, BIAS)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The counts, not rounded and of another scale."""
        before = evidence.auxiliary_images.logits_of_others
        if evidence.steps == 1:
            return before.softmax(dim=0) - evidence.bias_gradients
        after, shares = evidence.auxiliary_after_steps.logits_of_others, steps_shares(evidence)
        confidence = before.softmax(dim=0)
        counts = largest_remainders(confidence - evidence.bias_gradients, evidence.batch_size)
        for _ in range(ROUNDS):
            logits = simulated_logits(evidence, before, counts / evidence.batch_size)
            confidence = shares @ logits[:-1].softmax(dim=1)
            over = logits[-1] - after
            if float(over.abs().max()) < CLOSE:
                break
            # An image more of a class raises its logit; only a class that has images can give one away.
            source, target = over.masked_fill(counts == 0, -torch.inf).argmax(), over.argmin()
            counts[source] -= 1
            counts[target] += 1
        return confidence - evidence.bias_gradients


def steps_shares(evidence: Evidence) -> Tensor:
    """(T,): how much the gradient of each step counts in the update, in sum 1; with momentum the first counts most."""
    update, steps = _weight_update(evidence), evidence.steps
    counted = [sum(update.momentum**later for later in range(steps - step)) for step in range(steps)]
    shares = torch.tensor(counted, dtype=torch.float64)
    return shares / shares.sum()


def simulated_logits(evidence: Evidence, logits: Tensor, frequencies: Tensor) -> Tensor:
    """(T + 1, C): mean logits (C,) before the first step and after each, for a batch of these frequencies (C,)."""
    update = _weight_update(evidence)
    gradient = evidence.bias_gradients
    # The mean input of the classifier, by which weights move beside the bias: the authors' mean of the classes' ratios,
    # weighed by the divisors' squares, so that a divisor next to zero counts nothing. The bias moves as well: + 1.
    features = gradient @ evidence.weight_gradient / gradient.square().sum()
    length, velocity, path = float(features.square().sum()) + 1, torch.zeros_like(logits), [logits]
    for _ in range(evidence.steps):
        velocity = update.momentum * velocity + path[-1].softmax(dim=0) - frequencies
        path.append(path[-1] - update.lr * length * velocity)
    return torch.stack(path)


def _weight_update(evidence: Evidence) -> WeightUpdate:
    if not isinstance(evidence.update, WeightUpdate):
        raise LabelInferenceError("the local steps behind the update are not known, and the rule repeats them")
    return evidence.update
