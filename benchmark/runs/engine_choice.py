"""Which engine a suite runs on: resolved once, before any trial, by measured rules (leaderboards/speed.md)."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import nn

from gradinv.attacks.attack import Attack
from gradinv.attacks.gradient_matching import Engine, Kind, Precision
from gradinv.attacks.registry import ATTACKS, create_attack
from gradinv.benchmark.runs.block import Block
from gradinv.benchmark.runs.suite import Suite
from gradinv.benchmark.victims import VictimError, build_network
from gradinv.metrics.keys import parse_key
from gradinv.metrics.registry import RequestError

SMALL = 500_000
"""Parameters up to which a step costs calls rather than arithmetic, so that candidates together are faster."""

TOGETHER = 8
"""Candidates in one call for such victims."""

TINY = 100_000
"""Parameters up to which compiled programs are faster on the CPU."""

WORTH_COMPILING = 200_000
"""Evaluations of one program from which compiling it, some 15 seconds, does not matter."""

AskedKind = Literal["auto", "eager", "captured", "compiled"]


@dataclass(frozen=True)
class EngineChoice:
    """What the user asked for; `together` 0 means: as suits the victim."""

    kind: AskedKind = "auto"
    together: int = 0
    precision: Precision = "float32"

    def check(self, device: str) -> None:
        """RequestError where the device cannot do it."""
        if device == "cuda":
            return
        if self.kind == "captured":
            raise RequestError("--engine captured: CUDA graphs need a CUDA device; take eager or compiled")
        if self.precision != "float32":
            raise RequestError(f"--precision {self.precision}: only CUDA devices have it; take float32")

    def resolve(self, device: str, suite: Suite) -> Kind:
        """The kind for a whole suite.

        `auto` compiles where every victim is tiny, every program is evaluated often, the device is the CPU and the
        compiler works; on CUDA nothing was measured yet, so that it stays eager there.
        """
        self._check_precision(suite)
        if self.kind != "auto":
            return self.kind
        # Of the suite as a whole, never of the part that is run: the kind stands in a trial's id, and whoever resumes
        # with another filter must find the same trials.
        often = all(count >= WORTH_COMPILING for block in suite.blocks for count in program_evaluations(block))
        return "compiled" if device == "cpu" and often and _all_tiny(suite) and _compiler_works() else "eager"

    def _check_precision(self, suite: Suite) -> None:
        """RequestError where the suite has trials that the precision would falsify."""
        if self.precision == "float32":
            return
        for block in suite.blocks:
            exact = [text for text in block.attacks if ATTACKS.get(parse_key(text).name).metadata["exact"]]
            if exact:
                raise RequestError(f"--precision {self.precision}: {exact[0]} solves for the images; take float32")
            if block.threat_model.client_precision != "float32":
                sent = block.threat_model.client_precision
                raise RequestError(f"--precision {self.precision} contradicts client_precision {sent}; take float32")

    def engine(self, kind: Kind, attack: Attack, module: nn.Module) -> Engine:
        """The engine of an attack's trials against a victim; plain eager for an attack with a loop of its own."""
        # An attack with a loop of its own evaluates as it likes, so that no choice of ours may stand in its id.
        if attack.candidates is None:
            return Engine()
        fitting = TOGETHER if parameters_of(module) <= SMALL else 1
        return Engine(kind, self.together or fitting, self.precision)


def program_evaluations(block: Block) -> list[int]:
    """How often each program of a block is evaluated: one for an attack with a batch size; blind ones cost little."""
    # The attack and the controls that see a gradient share a program, since only tensors differ between them.
    seeing = 1 + len({"other_gradient", "noise_gradient"} & set(block.controls))
    counts = []
    for text, batch_size in product(block.attacks, block.batch_sizes):
        attack = create_attack(text)
        if attack.candidates:
            spent = attack.evaluations(None if block.budget == "paper" else block.budget)
            counts.append(seeing * block.batches_of(batch_size) * len(block.defenses) * spent)
    return counts


def _all_tiny(suite: Suite) -> bool:
    """Whether every victim is known to be; the number of classes decides little of it."""
    # Ten classes and 32 px stand in for what only the data set, which is not open yet, could say.
    kinds = {(victim.model, victim.stem, block.image_size) for block in suite.blocks for victim in block.victims}
    try:
        networks = (build_network(m, num_classes=10, image_size=size or 32, stem=stem) for m, stem, size in kinds)
        return all(parameters_of(network) <= TINY for network in networks)
    except VictimError:  # a network for other images or classes than these: nobody knows how large it is
        return False


def parameters_of(module: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(parameter.numel() for parameter in module.parameters())


def _compiler_works() -> bool:
    """Whether torch.compile can compile anything here: it needs a C++ compiler."""
    # Tried and not looked for: a compiler that is installed may still lack headers or a place to write to.
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.zeros(4))
    except Exception:  # noqa: BLE001 - compilers fail in every way; eager does without
        return False
    return True
