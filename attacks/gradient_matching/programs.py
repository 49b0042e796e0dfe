"""Programs: an objective's evaluation, traced once to a flat list of operations and shared by all trials of its shape.

A program takes the candidates, what the trial gives and the network's state as inputs, so that restarts, agents,
images, repetitions and trials of a process share one; compiled ones are cached on disk by PyTorch across processes.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from gradinv.attacks.gradient_matching.distances import Distance
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.variables import Given

KEPT = 16
"""Programs that a process keeps; trials come victim by victim, so that the oldest is not needed any more."""

WARM_UP = 3
"""Runs before a capture, as PyTorch's notes on CUDA graphs ask for."""


class Program(Protocol):
    """One evaluation of one chunk of candidates."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        """Objectives, gradients and terms of the candidates, which come first among the inputs."""
        ...


_programs: "OrderedDict[Hashable, tuple[Program, tuple[object, ...]]]" = OrderedDict()


def program_of(
    objective: Objective,
    kind: str,
    width: int,
    precision: str,
    inputs: Sequence[Tensor],
    given: Given,
    parts: int,
) -> Program:
    """The program for such inputs: from this process's store, or else traced now.

    The first `parts` of the inputs are the candidates' images and logits; `given` shows how the others are nested. With
    a `width` above 1 candidates and givens have that first dimension.
    """
    terms = (type(objective), *objective.terms)
    shapes = tuple((tuple(value.shape), value.dtype) for value in inputs)
    victim, transform = objective.victim, objective.defense.key
    # By its family, not by itself: every trial has a copy of the network, whose values are inputs of the program.
    network = (id(victim.family), victim.bn_mode, victim.device)
    key = (*network, kind, width, precision, transform, *map(_named, terms), shapes)
    if key not in _programs:
        program: Program = _traced(objective, width, inputs, given, parts)
        if kind == "compiled":
            # `fullgraph`, so that what cannot be compiled raises and autograd takes over, instead of half of it running
            # eagerly in silence.
            program = torch.compile(program, fullgraph=True, dynamic=False)
        if kind in ("compiled", "captured") and victim.device.type == "cuda":
            program = Captured(program, inputs)
        _programs[key] = (program, (victim.family, *terms))  # kept, so that no other object gets their ids
        if len(_programs) > KEPT:
            _programs.popitem(last=False)
    return _programs[key][0]


def _named(part: object) -> Hashable:
    """What parts of an objective share if they compute the same: class and plain attributes, else identity.

    Plain are numbers, texts, tuples of them, and distances that a distance is made of.
    """
    attributes = sorted(vars(part).items()) if hasattr(part, "__dict__") else ()
    names = {name: _named(value) if isinstance(value, Distance) else value for name, value in attributes}
    plain = all(map(_is_plain, names.values()))
    return (type(part), *names.items()) if plain else id(part)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str | type | None)


def _traced(objective: Objective, width: int, inputs: Sequence[Tensor], given: Given, parts: int) -> GraphModule:
    """The operations of one evaluation in a row, without a tape."""
    given_leaves, given_nesting = tree_flatten(given)
    state_names = list(objective.victim.state)

    def evaluation(*leaves: Tensor) -> Any:
        rest = leaves[parts:]
        state = dict(zip(state_names, rest[len(given_leaves) :], strict=True))
        return objective.functional(leaves[:parts], tree_unflatten(rest[: len(given_leaves)], given_nesting), state)

    if width > 1:
        of_candidates = parts + len(given_leaves)
        # The network's state has no such dimension: all candidates of a call share it.
        dims = (*[0] * of_candidates, *[None] * (len(inputs) - of_candidates))
        evaluation = torch.func.vmap(evaluation, in_dims=dims)
    with torch.no_grad():  # with a tape, vmap cannot go through batch norm in train mode
        graph = make_fx(evaluation)(*[value.detach() for value in inputs])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class Captured:
    """A program as one CUDA graph: its inputs are copied to where the graph reads them, and it is replayed.

    What it returns is overwritten by the next call. Inputs that are the same tensors as in the last call and have not
    changed since are not copied again.
    """

    def __init__(self, program: Program, inputs: Sequence[Tensor]) -> None:
        self.static = [value.detach().clone() for value in inputs]
        self._copied: list[tuple[Tensor, int] | None] = [None] * len(inputs)
        # On a side stream, so that what the first runs allocate and set up is no part of the capture.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                program(*self.static)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = program(*self.static)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        """Copy what changed, replay."""
        for index, (static, value) in enumerate(zip(self.static, inputs, strict=True)):
            copied = self._copied[index]
            # PyTorch counts a tensor's changes in place in `_version`. The network's state, most of the bytes, never
            # changes: to copy it at every step would cost more than the capture saves.
            if copied is None or copied[0] is not value or copied[1] != value._version:
                static.copy_(value)
                # The tensor itself and not its id, which a later tensor could get.
                self._copied[index] = (value, value._version)
        self.graph.replay()
        return self.result
