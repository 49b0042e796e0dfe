"""The engine: candidate images -> gradient distance + priors -> optimizer step; one hot loop for all attacks."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from gradinv.attacks.attack import Attack, Setting
from gradinv.attacks.gradient_matching.agents import Agents
from gradinv.attacks.gradient_matching.descent import Box, Descent
from gradinv.attacks.gradient_matching.distances import Distance
from gradinv.attacks.gradient_matching.group import Group
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.optimizers import Optimizer
from gradinv.attacks.gradient_matching.priors import Prior
from gradinv.attacks.labels import RULES, resolve_labels
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.victim import Victim

Part = TypeVar("Part")

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
    returned. With a `group` of several agents each restart is such a group, and its best agent counts. Trials of the
    same shape may descend side by side; none sees anything of another.
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

    @property
    def candidates(self) -> int | None:
        """Its agents, which descend side by side; None where a subclass reconstructs in a way of its own."""
        return self.group.agents if type(self).reconstruct is GradientMatching.reconstruct else None

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Match the leak's gradients; returns the iterate whose own objective was best."""
        return self.reconstruct_together([leak], victim, seeds=[seed], budget=budget)[0]

    def reconstruct_together(
        self, leaks: Sequence[Leak], victim: Victim, *, seeds: Sequence[int], budget: int | None = None
    ) -> list[Reconstruction]:
        """Every leak by itself, side by side."""
        budget = self.evaluations(budget)
        too_little = self._too_little(budget)
        if too_little:
            raise ValueError(too_little)
        objective = Objective(victim, self.distance, self.priors, autocast=self.engine.autocast)
        trials = [_Trial(leak, seed, *self._labels(leak, victim)) for leak, seed in zip(leaks, seeds, strict=True)]
        with self.engine.numerics(), objective.ready():
            for restart in range(self.restarts):
                self._restart(objective, trials, restart, budget)
        return [self._reconstruction(trial, budget) for trial in trials]

    def _restart(self, objective: Objective, trials: Sequence["_Trial"], restart: int, budget: int) -> None:
        """One restart of every trial that has not reached the tolerance, with a fair share of what it has left."""
        shares: dict[int, list[_Trial]] = {}
        for trial in trials:
            if not trial.done or trial.best.best_value >= self.tolerance:
                share = (budget - trial.spent) // (self.restarts - restart) // self.group.agents
                shares.setdefault(share, []).append(trial)
        for share, sharing in shares.items():
            self._descend(objective, sharing, restart, share)

    def _descend(self, objective: Objective, trials: Sequence["_Trial"], restart: int, evaluations: int) -> None:
        """Let the agents of these trials descend, each from its own start, with `evaluations` each."""
        victim, agents = objective.victim, self.group.agents
        seeds = [trial.seed + restart * agents + agent for trial in trials for agent in range(agents)]
        starts = [
            self._start(trial.leak, victim, seed) for trial, seed in zip(_each(trials, agents), seeds, strict=True)
        ]
        variables = [torch.stack(parts) for parts in zip(*starts, strict=True)]
        given = [objective.given(trial.leak, None if self.labels.joint else trial.labels) for trial in trials]
        evaluator, note = self.engine.evaluator(objective, variables, _each(given, agents))
        descent = Descent(
            evaluator,
            variables,
            self.optimizer,
            evaluations=evaluations,
            seeds=seeds,
            group=self.group,
            box=_box(trials[0].leak, victim.device) if self.box else None,
        )
        for index, trial in enumerate(trials):
            labels = None if self.labels.joint else trial.labels
            trial.done.append(Agents(descent, index * agents, labels))
            trial.engine_notes.extend([note] if note and note not in trial.engine_notes else [])
        descent.descend(self.tolerance, [trial.done[-1].before_step for trial in trials])

    def _reconstruction(self, trial: "_Trial", budget: int) -> Reconstruction:
        """The best restart's result, with what is to be said of all of them."""
        found = trial.best.reconstruction(trial.label_method, self._uses(trial.label_method), trial.spent)
        used = self.engine.fallback if trial.engine_notes else self.engine
        stopped, notes = self._stopped(found, budget), tuple(trial.engine_notes)
        return self._with_agreement(replace(found, stopped=stopped, notes=notes, engine=str(used)), trial.best)

    def _stopped(self, reconstruction: Reconstruction, budget: int) -> str:
        """Why the budget was not spent: the descent came to an end, or the rest is too little to share; else empty."""
        sharing = self.restarts * self.group.agents
        left = budget - reconstruction.evaluations
        if left == 0 or reconstruction.diverged:
            return ""
        if left < sharing:
            return f"{left} evaluations are too few for {sharing} restarts and agents to share"
        return "stopped early, the objective was below the tolerance or did not move any more"

    def _with_agreement(self, reconstruction: Reconstruction, best: Agents) -> Reconstruction:
        """With several agents, what they agree on beside what is scored."""
        if self.group.agents == 1:
            return reconstruction
        agreement = best.agreement()
        return replace(
            reconstruction,
            consensus=agreement.images,
            spread=agreement.spread,
            alignments=dict(best.registrations),
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
        return [variable.to(victim.device) for variable in variables]

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


@dataclass
class _Trial:
    """One leak on its way: its labels, and its restarts so far."""

    leak: Leak
    seed: int
    labels: Tensor
    label_method: str
    done: list[Agents] = field(default_factory=list)
    engine_notes: list[str] = field(default_factory=list)

    @property
    def spent(self) -> int:
        """Evaluations of all restarts."""
        return sum(agents.spent for agents in self.done)

    @property
    def best(self) -> Agents:
        """The restart with the best objective."""
        return min(self.done, key=lambda agents: agents.best_value)


def _each(parts: Sequence[Part], times: int) -> list[Part]:
    """Every part so many times in a row."""
    return [part for part in parts for _ in range(times)]


def _box(leak: Leak, device: torch.device) -> Box:
    """The images of pixel values 0 and 1 after normalisation, each (1, C, 1, 1)."""
    dtype = next(iter(leak.gradients.values())).dtype
    mean = torch.tensor(leak.mean, device=device, dtype=dtype).view(1, -1, 1, 1)
    std = torch.tensor(leak.std, device=device, dtype=dtype).view(1, -1, 1, 1)
    return -mean / std, (1 - mean) / std
