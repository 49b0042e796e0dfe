"""A process of its own for one system: JSON lines in, JSON lines out.

{"prepare": case} -> {"digest", "objectives", "seconds"}; {"time": span} -> seconds per iteration;
{"forward": true} -> seconds of a plain forward pass. Whatever fails is answered by {"error": text}.
"""

import json
import os
import sys
import warnings
from typing import Any

import torch

from tests.benchmarks.side_by_side.problems import Case, Problem, make_problem
from tests.benchmarks.side_by_side.timing import SHORT, seconds_per_iteration

CHECKED = (0, 20, 40)
"""The iterations at which the systems' objectives are compared."""
CHECK_RUN = 60


def make_system(name: str, problem: Problem) -> Any:
    """The system of that name, given the problem."""
    if name.startswith("ours"):
        from tests.benchmarks.side_by_side.our_system import OurSystem

        return OurSystem(problem)
    from tests.benchmarks.side_by_side.breaching_system import BreachingSystem

    return BreachingSystem(problem, equal=name != "breaching_stock")


class Desk:
    """Answers one request after another; the system prepared last is the one that is timed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.system: Any = None

    def answer(self, request: dict[str, Any]) -> Any:
        """What is asked for."""
        if "prepare" in request:
            return self._prepare(Case(**request["prepare"]))
        if "time" in request:
            return seconds_per_iteration(self.system, request["time"])
        return self.system.forward()

    def _prepare(self, case: Case) -> dict[str, Any]:
        """One reconstruction for the objectives, which may compile, and a warm one for a first idea of the time."""
        problem = make_problem(case)
        self.system = make_system(self.name, problem)
        run = self.system.run(CHECK_RUN)
        warm = self.system.run(SHORT)
        objectives = {step: run.objectives[step] for step in CHECKED if step in run.objectives}
        changes = self.system.rounding(run) if self.name == "ours" else {}
        rounding = {step: changes[step] for step in objectives if step in changes}
        return {
            "digest": problem.digest(),
            "objectives": objectives,
            "rounding": rounding,
            "seconds": warm.seconds / warm.iterations,
        }


def main() -> None:
    """Serve the system named on the command line until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a system prints does not belong among the answers
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # ours runs so by default
    desk = Desk(sys.argv[1])
    for line in sys.stdin:
        try:
            reply = {"answer": desk.answer(json.loads(line))}
        except Exception as error:  # noqa: BLE001 (a system that cannot do it is a result)
            reply = {"error": f"{type(error).__name__}: {str(error).strip()[:200]}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
