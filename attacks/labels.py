"""The labels that an attack works with: granted or inferred, and what is to be said of it."""

import torch
from torch import Tensor

from gradinv.attacks.label_rules import Evidence, create_rule
from gradinv.attacks.leak import Leak
from gradinv.attacks.victim import Victim

_INFERRED = "inferred:"


def infer_labels(leak: Leak, victim: Victim, rule: str) -> Tensor:
    """The batch's labels (B,) by the rule of this key, sorted; LabelInferenceError where the rule cannot find them.

    NoClassifierError where the victim has no classifier whose gradient is sent, LeakError where the leak is another
    network's.
    """
    labels = create_rule(rule).labels(Evidence.of(leak, victim))
    return labels.to(next(iter(leak.gradients.values())).device)


def resolve_labels(leak: Leak, victim: Victim, rule: str, *, always_infer: bool = False) -> tuple[Tensor, str]:
    """The labels an attack works with and how it has them: `given`, or `inferred:<rule>`."""
    if leak.labels is not None and not always_infer:
        return leak.labels.to(torch.int64), "given"
    return infer_labels(leak, victim, rule), f"{_INFERRED}{rule}"


def limits_of(leak: Leak, victim: Victim, label_method: str) -> tuple[str, ...]:
    """What is to be said of labels that an attack has in this way, from `resolve_labels`; mostly nothing."""
    rule = label_method.removeprefix(_INFERRED)
    # Nothing was taken off the front: no rule was asked, for labels are given or optimised.
    if rule == label_method:
        return ()
    limits = create_rule(rule).limits(Evidence.of(leak, victim))
    return tuple(f"labels: the rule {rule} {limit}" for limit in limits)
