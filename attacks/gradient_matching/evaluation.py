"""How candidates are evaluated: in turn or together, by autograd, a compiled program or a captured CUDA graph."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from gradinv.attacks.gradient_matching.objective import Given, Gradients, Objective
from gradinv.attacks.gradient_matching.programs import Program, program_of
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

Kind = Literal["eager", "captured", "compiled"]
Precision = Literal["float32", "tf32", "bf16"]

AGREEMENT = {"float32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}
"""Largest relative difference from eager at which another way of evaluating is used."""


class Evaluator(Protocol):
    """Evaluates N candidates."""

    def __call__(self, variables: Sequence[Tensor], over: Sequence[bool]) -> tuple[Tensor, Gradients]:
        """Objectives (N,) and gradients, shaped like the variables (N, ...); candidates that are `over` may be left."""
        ...


@dataclass(frozen=True)
class Engine:
    """How to evaluate. All ways compute the same, up to rounding.

    `eager` is autograd, `compiled` one program from torch.compile, `captured` a CUDA graph of the same operations
    without a compiler; on CUDA compiled programs are captured as well. `together` candidates (agents, or trials of the
    same shape) are evaluated in one vectorised call. `tf32` and `bf16` are for CUDA: faster and coarser.
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
        self, objective: Objective, variables: Sequence[Tensor], given: Sequence[Given]
    ) -> tuple[Evaluator, str | None]:
        """What evaluates these candidates, and why it is not what was asked for, in one line.

        `given` has one entry a candidate. Whatever else than autograd in turn was asked for is compared with it at the
        first candidate; where it cannot be made or differs, autograd is used and a warning says so.
        """
        in_turn = InTurn(objective, given)
        if self.kind == "eager" and self.together == 1:
            return in_turn, None
        try:
            asked = InChunks(objective, variables, given, self)
            reason = _difference(asked, in_turn, variables, AGREEMENT[self.precision])
        except Exception as error:  # noqa: BLE001 - tracer and compiler raise anything; autograd does without them
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if reason is None:
            return asked, None
        note = f"engine: eager in place of {self}: {reason}"
        warnings.warn(note, stacklevel=2)
        return in_turn, note


class InTurn:
    """Autograd, one candidate after another."""

    def __init__(self, objective: Objective, given: Sequence[Given]) -> None:
        self.objective, self.given = objective, given

    def __call__(self, variables: Sequence[Tensor], over: Sequence[bool]) -> tuple[Tensor, Gradients]:
        """Objectives and gradients; not a number and 0 for candidates that are over."""
        if len(self.given) == 1:
            value, found = self.objective.evaluate([variable[0] for variable in variables], self.given[0])
            return value[None], [None if gradient is None else gradient[None] for gradient in found]
        values = variables[0].new_full((len(self.given),), torch.nan)
        gradients: Gradients = [torch.zeros_like(variable) for variable in variables]
        for index, given in enumerate(self.given):
            if not over[index]:
                value, found = self.objective.evaluate([variable[index] for variable in variables], given)
                values[index] = value
                gradients = [_filled(all_, one, index) for all_, one in zip(gradients, found, strict=True)]
        return values, gradients


def _filled(gradients: Tensor | None, gradient: Tensor | None, index: int) -> Tensor | None:
    """`gradients` with one candidate's in its place; None as soon as a candidate has none."""
    if gradients is None or gradient is None:
        return None
    gradients[index] = gradient
    return gradients


class InChunks:
    """A traced program, run for `together` candidates at a time; the last chunk is filled up with its first candidate.

    So a candidate meets the same program whether it comes with others or alone.
    """

    def __init__(
        self, objective: Objective, variables: Sequence[Tensor], given: Sequence[Given], engine: Engine
    ) -> None:
        self.width, self.count = engine.together, len(given)
        self.state = tree_flatten(objective.victim.state)[0]
        self.chunks = [range(start, start + self.width) for start in range(0, self.count, self.width)]
        last = self.chunks[-1]
        filled = [index if index < self.count else last.start for index in last]
        self.filled = torch.tensor(filled, device=variables[0].device)  # made here: the loop may not wait for it
        self.given = [self._stacked([given[index] for index in chunk]) for chunk in (*self.chunks[:-1], filled)]
        inputs = [*self._chosen(variables, self.chunks[0]), *self.given[0], *self.state]
        self.program: Program = program_of(
            objective, engine.kind, self.width, engine.precision, inputs, given[0], len(variables)
        )

    def __call__(self, variables: Sequence[Tensor], over: Sequence[bool]) -> tuple[Tensor, Gradients]:
        """Objectives and gradients; not a number and 0 for a chunk of candidates that are all over."""
        if len(self.chunks) == 1 and self.width == self.count > 1:
            value, found = self.program(*variables, *self.given[0], *self.state)
            return value, list(found)
        values = variables[0].new_full((self.count,), torch.nan)
        gradients = [torch.zeros_like(variable) for variable in variables]
        for chunk, given in zip(self.chunks, self.given, strict=True):
            mine = slice(chunk.start, min(chunk.stop, self.count))
            if not all(over[mine]):
                value, found = self.program(*self._chosen(variables, chunk), *given, *self.state)
                values[mine] = value[: mine.stop - mine.start] if self.width > 1 else value
                for gradient, one in zip(gradients, found, strict=True):
                    gradient[mine] = one[: mine.stop - mine.start] if self.width > 1 else one
        return values, list(gradients)

    def _chosen(self, variables: Sequence[Tensor], chunk: range) -> list[Tensor]:
        """A chunk's own; without the first dimension where chunks are single candidates."""
        if self.width == 1:
            return [variable[chunk.start] for variable in variables]
        if chunk.stop <= self.count:
            return [variable[chunk.start : chunk.stop] for variable in variables]
        return [variable.index_select(0, self.filled) for variable in variables]

    def _stacked(self, given: Sequence[Given]) -> list[Tensor]:
        if self.width == 1:
            return list(tree_flatten(given[0])[0])
        return list(tree_flatten(tree_map(lambda *leaves: torch.stack(leaves), *given))[0])


def _difference(asked: Evaluator, in_turn: InTurn, variables: Sequence[Tensor], agreement: float) -> str | None:
    """How far the first candidate's evaluation is from autograd's, where it is too far."""
    first, others = [variable[:1] for variable in variables], [True] * (len(in_turn.given) - 1)
    expected = InTurn(in_turn.objective, in_turn.given[:1])(first, [False])
    found = asked(variables, [False, *others])
    pairs = [(found[0][:1], expected[0])]
    for mine, theirs in zip(found[1], expected[1], strict=True):
        if mine is not None:
            pairs.append((mine[:1], torch.zeros_like(mine[:1]) if theirs is None else theirs))
    for mine, theirs in pairs:
        difference = float((mine - theirs).norm() / theirs.norm().clamp(min=1e-30))
        if not difference <= agreement and bool(torch.isfinite(theirs).all()):
            return f"its results differ from autograd's by {difference:.1e} (relative)"
    return None
