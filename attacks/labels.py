"""Label inference: which classes were in the batch, from the classifier's weight gradient alone.

A rule takes the classifier's weight gradient (classes, features) and the batch size B, and returns B class indices.
Both rules find distinct classes only, and rest on features that are not negative (a ReLU, sigmoid or pooling in front).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gradinv.attacks.leak import Leak
from gradinv.attacks.update import create_update
from gradinv.attacks.victim import Victim

Rule = Callable[[Tensor, int], Tensor]


class LabelInferenceError(ValueError):
    """A batch whose labels a rule cannot find; its text says why."""


def sum_rule(weight_gradient: Tensor, batch_size: int) -> Tensor:
    """The B classes whose weight gradients have the smallest sum.

    For B = 1 the sign rule of iDLG (Zhao et al. 2020, Eq. 3-4): only the true class has a negative sum. For B > 1 the
    extension that GradInversion compares with (Yin et al. 2021, Table 1).

    >>> sum_rule(torch.tensor([[1.0, 2.0], [-3.0, -1.0], [0.5, 0.5]]), 1).tolist()
    [1]
    """
    # Row c is the mean over the batch of (probability of c - whether c is true) times the features. With features
    # that are not negative, only a true class can have a negative sum.
    return _smallest(weight_gradient.sum(dim=1), batch_size)


def min_rule(weight_gradient: Tensor, batch_size: int) -> Tensor:
    """The B classes with the smallest entry over the features (Yin et al. 2021, Eq. 8).

    >>> min_rule(torch.tensor([[1.0, -2.0], [-3.0, 9.0], [0.5, 0.5]]), 2).tolist()
    [0, 1]
    """
    # In the sum the other images of a batch may outweigh the one of class c; a feature that is strong in this image
    # alone still shows its negative sign.
    return _smallest(weight_gradient.amin(dim=1), batch_size)


def _smallest(scores: Tensor, batch_size: int) -> Tensor:
    if batch_size > len(scores):
        raise LabelInferenceError(f"{batch_size} distinct labels cannot be found among {len(scores)} classes")
    # Stable, so that classes whose gradient is exactly zero come in the same order on every device. Sorted at the
    # end, since a rule says which classes are in the batch and nothing of their slots.
    return scores.argsort(stable=True)[:batch_size].sort().values


_INFERRED = "inferred:"
RULES: dict[str, Rule] = {"sum": sum_rule, "min": min_rule}


def infer_labels(leak: Leak, victim: Victim, rule: str) -> Tensor:
    """The batch's labels (B,) by the named rule, sorted; LabelInferenceError where the rule cannot find them.

    NoClassifierError where the victim has no classifier whose gradient is sent, LeakError where the leak is another
    network's.
    """
    victim.require_fit(leak)
    # Rules go by signs, and what a client sends need not have those of a gradient.
    gradients = create_update(leak.threat_model.update).as_gradient(leak.gradients)
    gradient = gradients[victim.classifier_weight(leak.image_shape)]
    # Flattened, since a classifier may be a 1x1 convolution, whose weight has four dimensions.
    return RULES[rule](gradient.flatten(1), leak.batch_size)


def resolve_labels(leak: Leak, victim: Victim, rule: str, *, always_infer: bool = False) -> tuple[Tensor, str]:
    """The labels an attack works with and how it has them: `given`, or `inferred:<rule>`."""
    if leak.labels is not None and not always_infer:
        return leak.labels.to(torch.int64), "given"
    return infer_labels(leak, victim, rule), f"{_INFERRED}{rule}"


def limits_of(leak: Leak, label_method: str) -> tuple[str, ...]:
    """What is to be said of labels that an attack has in this way, from `resolve_labels`; mostly nothing."""
    rule = label_method.removeprefix(_INFERRED)
    equal = min(leak.threat_model.max_equal_labels, leak.batch_size)
    if rule == label_method or equal == 1:
        return ()
    return (f"labels: the rule {rule} finds distinct labels only, and up to {equal} in a batch may be equal",)
