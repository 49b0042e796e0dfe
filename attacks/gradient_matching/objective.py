"""What is minimised, what selects and what the curve shows: the distance plus the weighted priors of a candidate."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypedDict

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.distances import Distance
from gradinv.attacks.gradient_matching.priors import Candidate, Prior
from gradinv.attacks.leak import Leak
from gradinv.attacks.victim import Victim

Recorded = dict[int, tuple[Tensor, Tensor]]
Gradients = list[Tensor | None]


class Given(TypedDict):
    """What one trial gives an evaluation besides the variables: labels (none where optimised), target, granted."""

    labels: list[Tensor]
    target: list[Tensor]
    granted: list[tuple[Tensor, Tensor]]


class Objective:
    """The objective of one victim, as a function of the variables: the images and, where optimised, label logits.

    `distance` None leaves the gradient out. Batch-norm statistics come from the same forward pass as the gradient.
    `autocast` runs the victim's forward pass in bfloat16.
    """

    def __init__(
        self, victim: Victim, distance: Distance | None, priors: Sequence[Prior], *, autocast: bool = False
    ) -> None:
        self.victim, self.distance, self.priors, self.autocast = victim, distance, priors, autocast
        self.needs_bn_statistics = any(prior.needs_bn_statistics for prior in priors)
        self._recorded: Recorded = {}

    def given(self, leak: Leak, labels: Tensor | None) -> Given:
        """What a leak gives; `labels` None: they are optimised. ValueError where a prior lacks its grant."""
        if self.needs_bn_statistics and leak.bn_statistics is None:
            raise ValueError("a batch-norm prior needs bn_statistics: running or exact")
        observed = [leak.gradients[name] for name in self.victim.parameter_names]
        return {
            "labels": [] if labels is None else [labels],
            "target": [] if self.distance is None else self.distance.prepare(observed),
            "granted": list(leak.bn_statistics or ()) if self.needs_bn_statistics else [],
        }

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Inside the block the objective may be evaluated; the victim carries hooks only here, and only if needed."""
        with self.victim.recording_bn_statistics(self.needs_bn_statistics) as self._recorded:
            yield

    @torch.enable_grad()
    def evaluate(self, variables: Sequence[Tensor], given: Given) -> tuple[Tensor, Gradients]:
        """The scalar objective of normalised images (B, C, H, W), and its gradients for the variables.

        The distance's own gradient is taken by its closed form, so that one backward pass through the victim, with
        nothing of the network's size beside it, is all that is left.
        """
        leaves = [variable.detach().requires_grad_(True) for variable in variables]
        gradients: Sequence[Tensor] = ()
        with self._precision():
            if self.distance is not None:
                gradients = self.victim.update(leaves[0], _labels(leaves, given))
            elif self.needs_bn_statistics:
                self.victim.module(leaves[0])
        penalty = self._penalty(leaves[0], self._recorded, given)
        if self.distance is None:
            return penalty.detach(), [*torch.autograd.grad(penalty, leaves, allow_unused=True)]
        with torch.no_grad():
            pullback = self.distance.pullback([gradient.detach() for gradient in gradients], given["target"])
        outputs, cotangents = [*gradients, penalty], [*pullback.cotangents, 1 / pullback.factor]
        used = [index for index, output in enumerate(outputs) if output.requires_grad]
        found = torch.autograd.grad(
            [outputs[index] for index in used], leaves, [cotangents[index] for index in used], allow_unused=True
        )
        scaled: Gradients = [None if gradient is None else gradient.mul_(pullback.factor) for gradient in found]
        return (pullback.value + penalty).detach(), scaled

    def functional(
        self, variables: Sequence[Tensor], given: Given, state: dict[str, Tensor]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The same as a pure function, for `torch.func` and for tracing; `state` holds parameters and buffers."""

        def total(variables: list[Tensor]) -> Tensor:
            gradients, recorded = self._functional_gradients(variables, given, state)
            penalty = self._penalty(variables[0], recorded, given)
            return penalty if self.distance is None else self.distance.value(gradients, given["target"]) + penalty

        slopes, value = torch.func.grad_and_value(total)(list(variables))
        return value, slopes

    def _functional_gradients(
        self, variables: Sequence[Tensor], given: Given, state: dict[str, Tensor]
    ) -> tuple[list[Tensor], Recorded]:
        with self._precision():
            if self.distance is not None:
                labels = _labels(variables, given)
                return self.victim.functional_update(variables[0], labels, state, self._recorded)
            if self.needs_bn_statistics:
                torch.func.functional_call(self.victim.module, state, (variables[0],))
        return [], self._recorded

    def _penalty(self, images: Tensor, recorded: Recorded, given: Given) -> Tensor:
        """The weighted sum of the priors."""
        candidate = Candidate(images, [recorded[index] for index in range(len(recorded))], given["granted"])
        terms = [prior.weight * prior(candidate) for prior in self.priors]
        return torch.stack(terms).sum() if terms else images.new_zeros(())

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.victim.device.type, torch.bfloat16) if self.autocast else nullcontext()


def _labels(variables: Sequence[Tensor], given: Given) -> Tensor:
    """The labels that are given, or the probabilities that the second variable, the logits, stands for."""
    return given["labels"][0] if given["labels"] else variables[1].softmax(dim=-1)
