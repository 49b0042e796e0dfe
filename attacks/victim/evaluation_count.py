"""Counting evaluations where they are made: at the victim's parameters, whatever the attack says that it spent."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class EvaluationCount:
    """How many gradients for these parameters were computed since `restart`; they must be leaves that require one.

    A gradient counts once whether the first or the last parameter was asked for or both. What is computed inside
    `paused` counts as much as is added by `add`. On a copy of the network nothing is counted: this is a guard against
    slips of honest authors and no wall.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> count = EvaluationCount([weight])
    >>> _ = torch.autograd.grad((weight**2).sum(), weight)
    >>> count.spent
    1
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._watched = len({id(parameters[0]), id(parameters[-1])})
        self.is_paused = False
        self.restart()
        for place, parameter in enumerate((parameters[0], parameters[-1])[: self._watched]):
            parameter.register_hook(self._hook(place))

    def restart(self) -> None:
        """Count from 0 again."""
        self._added = 0
        # By watched parameter; of gradients with a graph of their own and of those without.
        self._with_graph, self._without = [0] * self._watched, [0] * self._watched

    @property
    def spent(self) -> int:
        """Gradients since the last `restart`."""
        # Not the sum: where a loss on a gradient is sent back by `backward()`, as DLG's authors do, the parameters get
        # a second gradient that nobody asked for. The first has a graph, the second none.
        return max(self._added + max(self._with_graph), *self._without)

    def add(self, evaluations: int) -> None:
        """Count so many more."""
        self._added += evaluations

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block nothing is counted by itself."""
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before

    def _hook(self, place: int) -> Callable[[Tensor], None]:
        def count(_: Tensor) -> None:
            if not self.is_paused:
                # Inside a backward pass gradients are enabled exactly where it makes a graph.
                (self._with_graph if torch.is_grad_enabled() else self._without)[place] += 1

        return count
