"""What every rule of label inference is: an estimate of the counts, and assumptions that are checked before it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gradinv.attacks.label_rules.assumptions import CROSS_ENTROPY, Assumption
from gradinv.attacks.label_rules.evidence import Evidence
from gradinv.attacks.label_rules.rounding import LabelInferenceError, largest_remainders
from gradinv.attacks.registry import Parametrised


class Rule(Parametrised):
    """Base class. A subclass names its `assumptions` and fills in `estimate`; parameters are keyword-only and typed.

    That the batch size is known every rule assumes, since every leak says it; likewise the mean cross-entropy, which is
    checked like the others.
    """

    assumptions: tuple[Assumption, ...] = ()

    def estimate(self, evidence: Evidence) -> Tensor:
        """How often each class occurs (C,): whole or not, of any scale, in any sum above zero.

        LabelInferenceError where the gradient gives no estimate.
        """
        raise TypeError(f"{type(self).__name__} has no estimate method")

    def reason_before(self, batch_size: int, num_classes: int) -> str | None:
        """Why the rule is impossible for a batch of this size, before there is any update; None where it may be."""
        return next(filter(None, (part.fault_before(batch_size, num_classes) for part in self.assumptions)), None)

    def reason_to_skip(self, evidence: Evidence) -> str | None:
        """Why the rule cannot be run, in one line; None where it can."""
        before = self.reason_before(evidence.batch_size, evidence.num_classes)
        return before or next(self._faults(evidence, required=True), None)

    def limits(self, evidence: Evidence) -> tuple[str, ...]:
        """What the rule assumes beyond that and does not hold; mostly nothing."""
        return tuple(self._faults(evidence, required=False))

    def counts(self, evidence: Evidence) -> Tensor:
        """How often each class occurs (C,), whole numbers that sum to the batch size.

        LabelInferenceError where a required assumption fails or the gradient gives no estimate.
        """
        reason = self.reason_to_skip(evidence)
        if reason is not None:
            raise LabelInferenceError(reason)
        return largest_remainders(self.estimate(evidence), evidence.batch_size)

    def labels(self, evidence: Evidence) -> Tensor:
        """The labels (B,), sorted, since counts say nothing of slots; errors as of `counts`."""
        return torch.arange(evidence.num_classes).repeat_interleave(self.counts(evidence))

    def _faults(self, evidence: Evidence, *, required: bool) -> Iterator[str]:
        for assumption in (CROSS_ENTROPY, *self.assumptions):
            if assumption.required == required:
                fault = assumption.fault(evidence)
                if fault is not None:
                    yield fault
