"""The engine: candidate images -> gradient distance + priors -> optimizer step; one hot loop for all attacks."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.attack import Attack, Setting
from attacks.distances import Distance
from attacks.labels import RULES, resolve_labels
from attacks.leak import Leak, Reconstruction
from attacks.objective import Objective
from attacks.optimizers import Optimizer
from attacks.priors import Prior
from attacks.tracking import Tracker
from attacks.victim import Victim

CHECK_EVERY = 50
"""Evaluations between two looks at the objective from the host: each look waits for the device."""


@dataclass(frozen=True)
class LabelPolicy:
    """Where labels come from: the grant or else `rule`; `always_infer` ignores the grant, `joint` optimises them."""

    rule: str = "sum"
    always_infer: bool = False
    joint: bool = False
    rule_needs_single_image: bool = False


class GradientMatching(Attack):
    """Minimise `distance` to the observed gradients plus weighted `priors` over the images.

    `box` keeps the images inside the valid pixel range. A restart ends early when the objective falls below
    `tolerance`, and so does the attack. Restarts share what is left of the budget; the one with the best objective is
    returned.
    """

    def __init__(
        self,
        *,
        distance: Distance | None,
        optimizer: Optimizer,
        iterations: int,
        priors: Sequence[Prior] = (),
        restarts: int = 1,
        labels: LabelPolicy | None = None,
        box: bool = True,
        tolerance: float = 0.0,
    ) -> None:
        self.distance, self.optimizer = distance, optimizer
        self.priors = [prior for prior in priors if prior.weight != 0]
        self.iterations, self.restarts = iterations, restarts
        self.labels, self.box, self.tolerance = labels or LabelPolicy(), box, tolerance

    def reason_to_skip(self, setting: Setting) -> str | None:
        """Why the priors or the labels are impossible in this setting; None where they are possible."""
        return self._no_statistics(setting) or self._no_labels(setting)

    def evaluations(self, budget: int | None) -> int:
        """The budget, or else the paper's: iterations times restarts."""
        return self.iterations * self.restarts if budget is None else budget

    def prior_only(self) -> "GradientMatching | None":
        """The same attack with the distance off; None where no prior is left."""
        if not self.priors:
            return None
        blind = copy.copy(self)
        blind.distance = None
        return blind

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Match the leak's gradients; returns the iterate whose own objective was best."""
        labels, method = self._labels(leak, victim)
        budget = self.evaluations(budget)
        if budget < self.restarts:
            raise ValueError(f"a budget of {budget} evaluations is too small for {self.restarts} restarts")
        trackers: list[Tracker] = []
        for restart in range(self.restarts):
            left = budget - sum(tracker.spent for tracker in trackers)
            trackers.append(self._run(leak, victim, labels, seed + restart, left // (self.restarts - restart)))
            if trackers[-1].best_value() < self.tolerance:
                break
        best = min(trackers, key=Tracker.best_value)
        found = best.best[1].argmax(dim=-1) if self.labels.joint else labels
        return best.reconstruction(
            labels=found,
            label_method=method,
            uses=self._uses(method),
            evaluations=sum(tracker.spent for tracker in trackers),
        )

    def _run(self, leak: Leak, victim: Victim, labels: Tensor, seed: int, evaluations: int) -> Tracker:
        """One restart from its own start."""
        variables = self._start(leak, victim, seed)
        images = variables[0]
        objective = Objective(leak, victim, self.distance, self.priors)
        tracker = Tracker(variables, evaluations)
        stepper = self.optimizer.start(variables, evaluations, seed)
        lower, upper = _box(leak, victim.device)

        def closure() -> Tensor:
            value = objective(images, variables[1].softmax(dim=-1) if self.labels.joint else labels)
            gradients = torch.autograd.grad(value, variables, allow_unused=True)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.grad = gradient
            tracker.observe(value.detach())
            return value

        with objective.ready():
            while tracker.spent < evaluations and not tracker.is_over(CHECK_EVERY, self.tolerance):
                stepper.step(closure, evaluations - tracker.spent)
                if self.box:
                    torch.clamp(images.data, lower, upper, out=images.data)
        return tracker

    def _start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
        """Standard normal images, and logits where labels are optimised; drawn on the CPU, equal on every device."""
        generator = torch.Generator().manual_seed(seed)
        lower, upper = _box(leak, torch.device("cpu"))
        images = torch.randn(leak.shape, generator=generator, dtype=next(iter(leak.gradients.values())).dtype)
        variables = [torch.clamp(images, lower, upper) if self.box else images]
        if self.labels.joint:
            variables.append(torch.randn(leak.batch_size, leak.num_classes, generator=generator, dtype=images.dtype))
        return [variable.to(victim.device).requires_grad_(True) for variable in variables]

    def _labels(self, leak: Leak, victim: Victim) -> tuple[Tensor, str]:
        if self.labels.joint:
            return torch.empty(0, dtype=torch.int64), "optimised"
        if self.distance is None and (leak.labels is None or self.labels.always_infer):
            return torch.empty(0, dtype=torch.int64), ""  # to infer them would be to look at the gradient
        labels, method = resolve_labels(leak, victim, self.labels.rule, always_infer=self.labels.always_infer)
        return labels.to(victim.device), method

    def _uses(self, label_method: str) -> tuple[str, ...]:
        statistics = any(prior.needs_bn_statistics for prior in self.priors)
        named = {"gradient": self.distance is not None, "labels": label_method == "given", "bn_statistics": statistics}
        return tuple(name for name, used in named.items() if used)

    def _no_statistics(self, setting: Setting) -> str | None:
        if not any(prior.needs_bn_statistics for prior in self.priors):
            return None
        if setting.bn_layers == 0:
            return "a batch-norm prior on a network without batch norm"
        if setting.threat_model.bn_statistics == "none":
            return "a batch-norm prior needs bn_statistics: running or exact"
        if setting.threat_model.bn_statistics == "running" and not setting.trained:
            return "the running statistics of an untrained network are its initial values and say nothing of images"
        return None

    def _no_labels(self, setting: Setting) -> str | None:
        granted = setting.threat_model.labels != "none" and not self.labels.always_infer
        if self.labels.joint or granted:
            return None
        if self.labels.rule_needs_single_image and setting.batch_size > 1:
            return "needs labels: counts or known for more than one image"
        if self.labels.rule in RULES and setting.batch_size > setting.num_classes:
            return f"{setting.batch_size} distinct labels cannot be inferred among {setting.num_classes} classes"
        return None


def _box(leak: Leak, device: torch.device) -> tuple[Tensor, Tensor]:
    """The images of pixel values 0 and 1 after normalisation, each (1, C, 1, 1)."""
    dtype = next(iter(leak.gradients.values())).dtype
    mean = torch.tensor(leak.mean, device=device, dtype=dtype).view(1, -1, 1, 1)
    std = torch.tensor(leak.std, device=device, dtype=dtype).view(1, -1, 1, 1)
    return -mean / std, (1 - mean) / std
