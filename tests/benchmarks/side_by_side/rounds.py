"""Workers and rounds: each system in its own process, all of them timed in turn, so that a busy minute hits all."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.side_by_side.machine import ALLOCATOR, ONE_THREAD
from tests.benchmarks.side_by_side.problems import Case
from tests.benchmarks.side_by_side.timing import suitable_span

# ours runs as the runner starts it, with the allocator settings; the others tell what these settings alone bring.
SYSTEMS = ("ours", "ours_plain", "breaching", "breaching_allocator", "breaching_stock")
WITH_ALLOCATOR = ("ours", "breaching_allocator")
ROOT = Path(__file__).resolve().parents[3]


class WorkerError(RuntimeError):
    """What a worker could not do, in its own words."""


class Worker:
    """The process of one system."""

    def __init__(self, system: str) -> None:
        plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
        command = [sys.executable, "-m", "tests.benchmarks.side_by_side.worker", system]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=plain | ONE_THREAD | (ALLOCATOR if system in WITH_ALLOCATOR else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        """The answer to a request; WorkerError where there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        except BrokenPipeError:
            raise WorkerError("the process ended") from None
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply["answer"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@dataclass
class Measurement:
    """What was measured of one case, by system: `seconds` per iteration, one value a round, and `objectives` by step.

    `forward` has the seconds of the victim's plain forward pass, one value a round. `errors` says what a system
    could not do. `rounding` says by how much ours change where the start is moved by it.
    """

    case: Case
    span: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    forward: list[float] = field(default_factory=list)
    objectives: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The measurement as a JSON object."""
        return vars(self) | {"case": self.case.row()}


def measure(case: Case, systems: Sequence[str], rounds: int, span: int | None = None) -> Measurement:
    """Time the systems on one case; `span` iterations, else as many as take about two seconds."""
    workers = {name: Worker(name) for name in systems}
    try:
        found = _prepare(case, workers)
        found.span = span or found.span
        for index in range(rounds):
            order = [name for name in systems if name not in found.errors]
            for name in order if index % 2 == 0 else reversed(order):
                _time(workers[name], name, found)
        return found
    finally:
        for worker in workers.values():
            worker.close()


def _prepare(case: Case, workers: dict[str, Worker]) -> Measurement:
    """Give every system the case, and see that they were all given the same."""
    found, digests, slowest = Measurement(case), set(), 0.0
    for name, worker in workers.items():
        try:
            answer = worker.ask(prepare=case.row())
        except WorkerError as error:
            found.errors[name] = str(error)
            continue
        digests.add(answer["digest"])
        slowest = max(slowest, answer["seconds"])
        found.objectives[name] = answer["objectives"]
        found.rounding = answer["rounding"] or found.rounding
    if len(digests) > 1:
        raise WorkerError(f"the systems were given different problems: {case}")
    found.span = suitable_span(slowest)
    return found


def _time(worker: Worker, name: str, found: Measurement) -> None:
    """One round of one system; the forward pass is that of our process, in the same round."""
    try:
        found.seconds.setdefault(name, []).append(worker.ask(time=found.span))
        if name == "ours":
            found.forward.append(worker.ask(forward=True))
    except WorkerError as error:
        found.errors[name] = str(error)
