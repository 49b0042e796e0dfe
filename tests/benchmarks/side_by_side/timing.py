"""Seconds per iteration of a system: a longer reconstruction minus a shorter one."""

from dataclasses import dataclass, field
from typing import Protocol

SHORT = 20
"""Iterations of the shorter reconstruction. Its set-up is that of the longer one, so that the difference has none."""
SPAN_SECONDS = 2.0
SPANS = (20, 400)


@dataclass(frozen=True)
class Run:
    """One reconstruction: `seconds` of it all, its `iterations`, and `objectives` by iteration, counted from 0."""

    seconds: float
    iterations: int
    objectives: dict[int, float] = field(default_factory=dict)


class System(Protocol):
    """A system with one problem."""

    def run(self, iterations: int) -> Run:
        """One reconstruction of so many iterations, timed."""
        ...


def seconds_per_iteration(system: System, span: int) -> float:
    """Seconds per iteration, over `span` iterations."""
    short = system.run(SHORT)
    long = system.run(SHORT + span)
    if long.iterations <= short.iterations:
        raise RuntimeError(f"the attack stops after {long.iterations} iterations, so there is nothing to time")
    return (long.seconds - short.seconds) / (long.iterations - short.iterations)


def suitable_span(seconds: float) -> int:
    """Iterations, a multiple of 20, that take about two seconds at so many `seconds` per iteration.

    >>> suitable_span(0.1), suitable_span(1e-5), suitable_span(10.0)
    (20, 400, 20)
    """
    wanted = 20 * round(SPAN_SECONDS / max(seconds, 1e-9) / 20)
    return min(max(wanted, SPANS[0]), SPANS[1])
