"""breaching's side: its presets and its own loop, with the terms that it defines differently made equal to ours."""

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any

import breaching
import torch
from breaching.attacks.auxiliaries.regularizers import DeepInversion, TotalVariation
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from gradinv.attacks.gradient_matching.optimizers import step_decay, warmup_cosine
from gradinv.attacks.gradient_matching.priors import ImageL2, TotalVariationL2
from tests.benchmarks.side_by_side.breaching_terms import InnerTotalVariation, LayerwiseEuclidean, OurPrior
from tests.benchmarks.side_by_side.machine import now
from tests.benchmarks.side_by_side.problems import CLASSES, LBFGS_EVALUATIONS, MEAN, STD, Problem
from tests.benchmarks.side_by_side.timing import Run

PRESETS = {"inverting_gradients": "invertinggradients", "gradinversion": "seethroughgradients", "dlg": "deepleakage"}
SCHEDULES = {"inverting_gradients": step_decay(3 / 8, 5 / 8, 7 / 8), "gradinversion": warmup_cosine(50)}
# Differences that breaching's own options take out.
OPTIONS = {
    "inverting_gradients": ["optim.step_size_decay=null"],
    "gradinversion": [
        "optim.step_size_decay=null",
        "optim.warmup=0",
        "optim.langevin_noise=0.0",
        "objective.scale=1e-3",
        "regularization.total_variation.scale=0",
        "regularization.norm.scale=0",
        "+regularization.deep_inversion.first_bn_multiplier=1",
    ],
    "dlg": ["objective.scale=2.0"],  # breaching halves the squared distance
}


class BreachingSystem:
    """breaching's attack on one problem; `equal` False leaves its preset as it is."""

    def __init__(self, problem: Problem, *, equal: bool = True) -> None:
        self.problem, self.equal = problem, equal
        self.steps_of = LBFGS_EVALUATIONS if problem.case.attack == "dlg" else 1
        self._evaluations: dict[int, int] = {}

    def run(self, iterations: int) -> Run:
        """One reconstruction; an iteration is one evaluation of the objective."""
        count = self._count(iterations)
        seconds, values = self._reconstruct(iterations, self.problem.network)
        return Run(seconds, count, {self.steps_of * step: value for step, value in enumerate(values)})

    def _count(self, iterations: int) -> int:
        """Evaluations of that run. L-BFGS may make fewer than asked for: they are counted once, in a run of its own."""
        if self.steps_of == 1:
            return iterations
        if iterations not in self._evaluations:
            network, counted = copy.deepcopy(self.problem.network), [0]
            network.register_forward_pre_hook(lambda *_: counted.__setitem__(0, counted[0] + 1))
            self._reconstruct(iterations, network)
            self._evaluations[iterations] = counted[0] - 1  # it scores its result once more
        return self._evaluations[iterations]

    def _reconstruct(self, iterations: int, network: nn.Module) -> tuple[float, list[float]]:
        """Seconds of one reconstruction, and its objective at each step of the optimizer."""
        attacker = self._attacker(iterations, network)
        server, client = self._payloads(network)
        before = now(self.problem.device)
        _, stats = attacker.reconstruct([server], [client], {})
        return now(self.problem.device) - before, stats["Trial_0_Val"]

    def _attacker(self, iterations: int, network: nn.Module) -> Any:
        options = [f"optim.max_iterations={iterations // self.steps_of}"]
        if self.equal:
            options += OPTIONS[self.problem.case.attack]
        if self.problem.case.attack == "gradinversion" and not self.problem.has_batch_norm:
            options.append("regularization.deep_inversion.scale=0")
        with contextlib.redirect_stdout(io.StringIO()):
            config = breaching.get_attack_config(PRESETS[self.problem.case.attack], overrides=options)
        loss = torch.jit.script(nn.CrossEntropyLoss())  # as its own cases have it
        setup = {"device": self.problem.device, "dtype": torch.float}
        attacker = breaching.attacks.prepare_attack(network, loss, config, setup)
        attacker._initialize_data = _starts(self.problem)
        if self.equal:
            _make_equal(attacker, self.problem.case.attack, iterations)
        return attacker

    def _payloads(self, network: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
        """What its server publishes and what its client sends."""
        case = self.problem.case
        about = {"modality": "vision", "task": "classification", "classes": CLASSES, "shape": [3, case.size, case.size]}
        metadata = OmegaConf.create(about | {"mean": list(MEAN), "std": list(STD)})
        server = {"parameters": list(network.parameters()), "buffers": list(network.buffers()), "metadata": metadata}
        labels = None if case.attack == "dlg" else self.problem.labels
        sent = {"num_data_points": case.batch, "labels": labels, "local_hyperparams": None}
        gradients = [gradient.clone() for gradient in self.problem.gradients]
        return server, {"gradients": gradients, "buffers": None, "metadata": sent}


def _starts(problem: Problem) -> Callable[[Any], Tensor]:
    """In place of breaching's draws: the problem's start of the shape asked for."""

    def start(shape: Any) -> Tensor:
        found = next(tensor for tensor in problem.start if tuple(tensor.shape) == tuple(shape))
        candidate = found.clone().requires_grad_(True)
        candidate.grad = torch.zeros_like(candidate)
        return candidate

    return start


def _make_equal(attacker: Any, attack: str, iterations: int) -> None:
    """The differences for which breaching has no option: learning rates by step, and terms."""
    if attack == "dlg":
        return
    inner = attacker._init_optimizer

    def with_our_schedule(candidate: list[Tensor]) -> tuple[torch.optim.Optimizer, LambdaLR]:
        optimizer, _ = inner(candidate)
        return optimizer, LambdaLR(optimizer, lambda step: SCHEDULES[attack](step, iterations))

    attacker._init_optimizer = with_our_schedule
    if attack == "inverting_gradients":
        scale = next(term.scale for term in attacker.regularizers if isinstance(term, TotalVariation))
        attacker.regularizers = [InnerTotalVariation(attacker.setup, scale=scale)]
    else:
        attacker.objective = LayerwiseEuclidean(scale=attacker.cfg.objective.scale)
        statistics = [term for term in attacker.regularizers if isinstance(term, DeepInversion)]
        attacker.regularizers = [OurPrior(TotalVariationL2(1e-4)), OurPrior(ImageL2(1e-6)), *statistics]
