"""The engine: candidate images -> gradient distance + priors -> optimizer step; one hot loop for all attacks."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.agents import Agents
from attacks.attack import Attack, Setting
from attacks.descent import Box, Descent
from attacks.distances import Distance
from attacks.group import Group
from attacks.labels import RULES, resolve_labels
from attacks.leak import Leak, Reconstruction
from attacks.objective import Objective
from attacks.optimizers import Optimizer
from attacks.priors import Prior
from attacks.victim import Victim
from metrics.record import BUDGET_LEFT

ALONE = Group(agents=1, weight=0.0, consensus="lazy", start=0.0, every=1.0)


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
    returned. With a `group` of several agents each restart is such a group, and its best agent counts.
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
        group: Group = ALONE,
        box: bool = True,
        tolerance: float = 0.0,
    ) -> None:
        self.distance, self.optimizer = distance, optimizer
        self.priors = [prior for prior in priors if prior.weight != 0]
        self.iterations, self.restarts, self.group = iterations, restarts, group
        self.labels, self.box, self.tolerance = labels or LabelPolicy(), box, tolerance

    def reason_to_skip(self, setting: Setting) -> str | None:
        """Why priors, labels, budget or image size make the attack impossible here; None where it is possible."""
        return (
            self._no_statistics(setting)
            or self._no_labels(setting)
            or self._too_little(setting.budget)
            or self.group.reason_to_skip(setting.image_size)
        )

    def evaluations(self, budget: int | None) -> int:
        """The budget, or else the paper's: iterations times restarts times agents."""
        return self.iterations * self.restarts * self.group.agents if budget is None else budget

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
        too_little = self._too_little(budget)
        if too_little:
            raise ValueError(too_little)
        done: list[Agents] = []
        for restart in range(self.restarts):
            left = budget - sum(agents.spent for agents in done)
            share = left // (self.restarts - restart) // self.group.agents
            done.append(self._run(leak, victim, labels, seed + restart * self.group.agents, share))
            if done[-1].best().tracker.best_value() < self.tolerance:
                break
        best = min(done, key=lambda agents: agents.best().tracker.best_value())
        found = best.best().tracker.best[1].argmax(dim=-1) if self.labels.joint else labels
        reconstruction = best.best().tracker.reconstruction(
            labels=found,
            label_method=method,
            uses=self._uses(method),
            evaluations=sum(agents.spent for agents in done),
            agents=self.group.agents,
        )
        return self._with_agreement(replace(reconstruction, notes=self._left(reconstruction, budget)), best)

    def _left(self, reconstruction: Reconstruction, budget: int) -> tuple[str, ...]:
        """A note where the budget was not spent: the descent came to an end, or the rest is too little to share."""
        sharing = self.restarts * self.group.agents
        left = budget - reconstruction.evaluations
        if left == 0 or reconstruction.diverged:
            return ()
        if left < sharing:
            return (f"{BUDGET_LEFT}: {left} evaluations are too few for {sharing} restarts and agents to share",)
        return (f"{BUDGET_LEFT}: stopped early, the objective was below the tolerance or did not move any more",)

    def _run(self, leak: Leak, victim: Victim, labels: Tensor, seed: int, evaluations: int) -> Agents:
        """One restart: its agents, each from its own start, with `evaluations` each."""
        objective = Objective(leak, victim, self.distance, self.priors)
        descents = [
            Descent(
                objective,
                self._start(leak, victim, seed + agent),
                None if self.labels.joint else labels,
                self.optimizer,
                evaluations=evaluations,
                seed=seed + agent,
                box=_box(leak, victim.device) if self.box else None,
                select_from=self.group.first(evaluations),
            )
            for agent in range(self.group.agents)
        ]
        agents = Agents(self.group, descents, together=self.group.agents > 1 and victim.device.type == "cuda")
        with objective.ready():
            agents.descend(self.tolerance)
        return agents

    def _with_agreement(self, reconstruction: Reconstruction, best: Agents) -> Reconstruction:
        """With several agents, what they agree on beside what is scored."""
        if self.group.agents == 1:
            return reconstruction
        agreement = best.agreement()
        return replace(
            reconstruction,
            consensus=agreement.images,
            spread=agreement.spread,
            registrations=dict(best.registrations),
        )

    def _too_little(self, budget: int | None) -> str | None:
        if self.evaluations(budget) >= self.restarts * self.group.agents:
            return None
        agents = f" of {self.group.agents} agents" if self.group.agents > 1 else ""
        return f"a budget of {budget} evaluations is too small for {self.restarts} restarts{agents}"

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


def _box(leak: Leak, device: torch.device) -> Box:
    """The images of pixel values 0 and 1 after normalisation, each (1, C, 1, 1)."""
    dtype = next(iter(leak.gradients.values())).dtype
    mean = torch.tensor(leak.mean, device=device, dtype=dtype).view(1, -1, 1, 1)
    std = torch.tensor(leak.std, device=device, dtype=dtype).view(1, -1, 1, 1)
    return -mean / std, (1 - mean) / std
