"""Our side: the public attack, asked for a number of evaluations."""

import copy
from typing import Any

import torch

from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from tests.benchmarks.side_by_side.machine import now
from tests.benchmarks.side_by_side.problems import CLASSES, MEAN, STD, Engine, Problem
from tests.benchmarks.side_by_side.timing import Run

# The weight of total variation is that of breaching's preset; noise is off, as it would be drawn differently.
PARAMETERS: dict[str, dict[str, Any]] = {
    "inverting_gradients": {"alpha_tv": 0.2},
    "gradinversion": {"agents": 1, "alpha_noise": 0.0},
    "dlg": {},
}


class OurSystem:
    """Our attack on one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.victim = Victim(problem.network)
        self.attack = create_attack(attack_key(problem))
        self.agents = problem.case.parameters.get("agents", 1)
        if problem.case.engine != "eager":
            self.attack.engine = _engine(problem.case.engine)
        self.leak = Leak(
            gradients=dict(zip(self.victim.parameter_names, problem.gradients, strict=True)),
            batch_size=problem.case.batch,
            image_shape=(3, problem.case.size, problem.case.size),
            num_classes=CLASSES,
            mean=MEAN,
            std=STD,
            labels=problem.labels,
            bn_statistics=self.victim.running_statistics or None,
        )

    def run(self, iterations: int) -> Run:
        """One reconstruction; an iteration is one evaluation of each agent."""
        budget = iterations * self.agents
        before = now(self.problem.device)
        found = self.attack.reconstruct(self.leak, self.victim, seed=self.problem.case.seed, budget=budget)
        seconds = now(self.problem.device) - before
        if self.problem.case.engine not in getattr(found, "engine", "eager"):
            raise RuntimeError("; ".join(found.notes) or f"ran on the engine {found.engine}")
        curve = {evaluation // self.agents - 1: value for evaluation, value in found.curve}
        return Run(seconds, found.evaluations // self.agents, curve)

    def rounding(self, run: Run) -> dict[int, float]:
        """By how much a run's objectives change, at most, if its start is moved by rounding, in three ways."""
        moved = [self._moved(run.iterations, seed) for seed in range(3)]
        return {step: max(abs(each[step] - value) for each in moved) for step, value in run.objectives.items()}

    def _moved(self, iterations: int, seed: int) -> dict[int, float]:
        """The objectives of a run from a start whose images differ by some units in the last place."""
        attack, generator = copy.copy(self.attack), torch.Generator().manual_seed(seed)
        start = attack.start

        def beside(*arguments: Any) -> list[torch.Tensor]:
            images, *logits = start(*arguments)
            noise = torch.randn(images.shape, generator=generator).to(images)
            return [images * (1 + torch.finfo(images.dtype).eps * noise), *logits]

        attack.start = beside
        budget = iterations * self.agents
        found = attack.reconstruct(self.leak, self.victim, seed=self.problem.case.seed, budget=budget)
        return {evaluation // self.agents - 1: value for evaluation, value in found.curve}

    def forward(self, least: float = 0.2) -> float:
        """Seconds of the victim's plain forward pass of the batch, without a tape: the mean over `least` seconds."""
        device, passes = self.problem.device, 0
        with torch.no_grad():
            self.problem.network(self.problem.images)
            before = spent = now(device)
            while spent - before < least or passes < 5:
                self.problem.network(self.problem.images)
                passes, spent = passes + 1, now(device)
        return (spent - before) / passes


def attack_key(problem: Problem) -> str:
    """The key of our attack that minimises what breaching's minimises, with the case's own parameters on top."""
    parameters = PARAMETERS[problem.case.attack] | problem.case.parameters
    if problem.case.attack == "gradinversion" and not problem.has_batch_norm:
        parameters = {"alpha_bn": 0.0} | parameters
    settings = ",".join(f"{name}={value}" for name, value in parameters.items())
    return f"{problem.case.attack}[{settings}]" if settings else problem.case.attack


def _engine(kind: Engine) -> Any:
    from gradinv.attacks.gradient_matching import evaluation as engine  # only where it is asked for

    return engine.Engine(kind=kind)
