"""How candidates are evaluated: in turn or together, by autograd, a compiled program or a captured CUDA graph."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.programs import Program, program_of
from gradinv.attacks.gradient_matching.variables import Evaluated, Given, Gradients
from gradinv.attacks.victim import EvaluationCount

Kind = Literal["eager", "captured", "compiled"]
Precision = Literal["float32", "tf32", "bf16"]

AGREEMENT = {"float32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}
"""Largest relative difference from eager at which another way of evaluating is used."""


class Evaluator(Protocol):
    """Evaluates N candidates: images (N, B, C, H, W) and, where optimised, label logits (N, B, classes)."""

    def __call__(self, candidates: Sequence[Tensor], over: Sequence[bool]) -> Evaluated:
        """Objectives (N,), gradients shaped like the candidates, terms (N, T); what is `over` may be left out."""
        ...


@dataclass(frozen=True)
class Engine:
    """How to evaluate. All ways compute the same, up to rounding.

    `eager` is autograd, `compiled` one program from torch.compile, `captured` a CUDA graph of the same operations
    without a compiler; on CUDA compiled programs are captured as well. `together` candidates (agents, or trials of the
    same shape) are evaluated in one vectorised call. `tf32` and `bf16` are for CUDA: faster and coarser. `captured`,
    `tf32` and `bf16` are experimental until their tests have run on a GPU.

    A candidate's bits do not depend on the others of its call, and on its place among them only where `together` times
    the elements of a sigmoid's or SiLU's input is no multiple of 16: on the CPU, PyTorch rounds the rest differently.
    """

    kind: Kind = "eager"
    together: int = 1
    precision: Precision = "float32"

    def __str__(self) -> str:
        """As records name it.

        >>> str(Engine("compiled", together=8, precision="bf16"))
        'compiled, 8 together, bf16'
        """
        together = f", {self.together} together" if self.together > 1 else ""
        return self.kind + together + (f", {self.precision}" if self.precision != "float32" else "")

    @property
    def fallback(self) -> "Engine":
        """What does without a program: autograd in turn, in the same precision."""
        return Engine(precision=self.precision)

    def fillers(self, count: int) -> int:
        """How many candidates are to be added to so many, so that they fill calls of `together` each.

        >>> Engine(together=8).fillers(11)
        5
        """
        return -count % self.together

    @property
    def autocast(self) -> bool:
        """Whether the victim's forward pass is in bfloat16."""
        return self.precision == "bf16"

    @contextmanager
    def numerics(self) -> Iterator[None]:
        """Inside the block CUDA rounds as `precision` says: PyTorch's own default is tf32 for convolutions."""
        backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [backend.allow_tf32 for backend in backends]
        try:
            for backend in backends:
                backend.allow_tf32 = self.precision == "tf32"
            yield
        finally:
            for backend, allowed in zip(backends, before, strict=True):
                backend.allow_tf32 = allowed

    def evaluator(
        self, objective: Objective, candidates: Sequence[Tensor], given: Sequence[Given]
    ) -> tuple[Evaluator, str | None]:
        """What evaluates candidates such as these, and why it is not what was asked for, in one line.

        `given` has one entry a candidate; they fill calls of `together` each (`fillers`). What was asked for in place
        of autograd in turn is compared with it at the first candidate; where it cannot be made or differs, autograd is
        used and a warning says so.
        """
        count = objective.victim.evaluations
        with count.paused():  # the comparison is no evaluation of the attack's
            chosen, reason = self._chosen(objective, candidates, given)
        return Counted(chosen, count, states=1 + len(given[0]["later"])), reason

    def _chosen(
        self, objective: Objective, candidates: Sequence[Tensor], given: Sequence[Given]
    ) -> tuple[Evaluator, str | None]:
        in_turn = InTurn(objective, given)
        if self.kind == "eager" and self.together == 1:
            return in_turn, None
        try:
            asked = InChunks(objective, candidates, given, self)
            reason = _difference(asked, in_turn, candidates, AGREEMENT[self.precision])
        except Exception as error:  # noqa: BLE001 - tracer and compiler raise anything; autograd does without them
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if reason is None:
            return asked, None
        note = f"engine: eager in place of {self}: {reason}"
        warnings.warn(note, stacklevel=4)
        return in_turn, note


class Counted:
    """An evaluator whose evaluations the victim counts, for a candidate that is not over one at each of `states`."""

    def __init__(self, evaluator: Evaluator, count: EvaluationCount, states: int) -> None:
        self.evaluator, self.count, self.states = evaluator, count, states

    def __call__(self, candidates: Sequence[Tensor], over: Sequence[bool]) -> Evaluated:
        """What the evaluator returns."""
        # Not left to the victim itself: a program computes gradients of many candidates at once, and none of them with
        # the victim's own parameters.
        self.count.add(self.states * (len(over) - sum(over)))
        with self.count.paused():
            return self.evaluator(candidates, over)


class InTurn:
    """Autograd, one candidate after another."""

    def __init__(self, objective: Objective, given: Sequence[Given]) -> None:
        self.objective, self.given = objective, given

    def __call__(self, candidates: Sequence[Tensor], over: Sequence[bool]) -> Evaluated:
        """Objectives, gradients, terms; not a number and gradients of 0 for candidates that are over."""
        if len(self.given) == 1:  # nothing is copied: on a large network that would cost as much as a prior
            value, slopes, terms = self.objective.evaluate([part[0] for part in candidates], self.given[0])
            return Evaluated(value[None], [None if slope is None else slope[None] for slope in slopes], terms[None])
        values, all_terms = _unset(candidates, self.objective, len(self.given))
        gradients: Gradients = [torch.zeros_like(part) for part in candidates]
        for index, given in enumerate(self.given):
            if not over[index]:
                values[index], slopes, all_terms[index] = self.objective.evaluate(
                    [part[index] for part in candidates], given
                )
                gradients = [_filled(*pair, index) for pair in zip(gradients, slopes, strict=True)]
        return Evaluated(values, gradients, all_terms)


def _unset(candidates: Sequence[Tensor], objective: Objective, count: int) -> tuple[Tensor, Tensor]:
    """Room for so many objectives (N,) and their terms (N, T), not a number yet."""
    shapes = ((count,), (count, len(objective.term_names)))
    values, terms = (candidates[0].new_full(shape, torch.nan) for shape in shapes)
    return values, terms


def _filled(gradients: Tensor | None, slope: Tensor | None, index: int) -> Tensor | None:
    """`gradients` with one candidate's in its place; None as soon as a candidate has none."""
    if gradients is None or slope is None:
        return None
    gradients[index] = slope
    return gradients


class InChunks:
    """A traced program, run for `together` candidates at a time, which must fill every call.

    So a candidate meets the same program whether it comes with others or, among fillers, alone.
    """

    def __init__(
        self, objective: Objective, candidates: Sequence[Tensor], given: Sequence[Given], engine: Engine
    ) -> None:
        self.width, self.count, self.objective = engine.together, len(given), objective
        if engine.fillers(self.count):
            raise ValueError(f"{self.count} candidates do not fill calls of {self.width}")
        # Inputs like all others, so that trials on a copy of the same network share one program.
        self.state = tree_flatten(objective.victim.state)[0]
        self.chunks = [slice(start, start + self.width) for start in range(0, self.count, self.width)]
        self.given = [self._stacked(given[chunk]) for chunk in self.chunks]
        inputs = [*self._part(candidates, self.chunks[0]), *self.given[0], *self.state]
        self.program: Program = program_of(
            objective, engine.kind, self.width, engine.precision, inputs, given[0], len(candidates)
        )

    def __call__(self, candidates: Sequence[Tensor], over: Sequence[bool]) -> Evaluated:
        """Objectives, gradients, terms; not a number and gradients of 0 for a chunk that is all over."""
        # Nothing to put together, so nothing is copied: even what a captured program overwrites at its next call may be
        # returned, because the descent is done with it by then.
        if len(self.chunks) == 1 and self.width > 1:
            value, slopes, terms = self.program(*candidates, *self.given[0], *self.state)
            return Evaluated(value, list(slopes), terms)
        values, all_terms = _unset(candidates, self.objective, self.count)
        gradients = [torch.zeros_like(part) for part in candidates]
        for chunk, given in zip(self.chunks, self.given, strict=True):
            if not all(over[chunk]):
                # Copied at once: a captured program overwrites what it returned when it is called again.
                values[chunk], slopes, all_terms[chunk] = self.program(
                    *self._part(candidates, chunk), *given, *self.state
                )
                for gradient, slope in zip(gradients, slopes, strict=True):
                    gradient[chunk] = slope
        return Evaluated(values, list(gradients), all_terms)

    def _part(self, candidates: Sequence[Tensor], chunk: slice) -> list[Tensor]:
        """The candidates of a chunk; without the first dimension where chunks are single candidates."""
        return [part[chunk.start] if self.width == 1 else part[chunk] for part in candidates]

    def _stacked(self, given: Sequence[Given]) -> list[Tensor]:
        if self.width == 1:
            return list(tree_flatten(given[0])[0])
        return list(tree_flatten(tree_map(lambda *leaves: torch.stack(leaves), *given))[0])


def _difference(asked: Evaluator, in_turn: InTurn, candidates: Sequence[Tensor], agreement: float) -> str | None:
    """How far the first candidate's evaluation is from autograd's, where it is too far."""
    # All but the first are declared over, so that one chunk is run: the others would run the same program.
    first, over = [part[:1] for part in candidates], [False] + [True] * (len(in_turn.given) - 1)
    expected_value, expected_slopes, _ = InTurn(in_turn.objective, in_turn.given[:1])(first, [False])
    value, slopes, _ = asked(candidates, over)
    pairs = [(value[:1], expected_value)]
    for slope, expected in zip(slopes, expected_slopes, strict=True):
        # Where autograd says that nothing depends on a part (None), a program says that its gradient is zero.
        if slope is not None:
            pairs.append((slope[:1], torch.zeros_like(slope[:1]) if expected is None else expected))
    for actual, expected in pairs:
        difference = float((actual - expected).norm() / expected.norm().clamp(min=1e-30))
        # Written so that a difference that is not a number counts, unless autograd's own value is none either.
        if not difference <= agreement and bool(torch.isfinite(expected).all()):
            return f"its results differ from autograd's by {difference:.1e} (relative)"
    return None
