"""What one descent remembers of its path, on the device: best iterate, objective curve, a few snapshots."""

import math

import torch
from torch import Tensor

from attacks.leak import Reconstruction

SNAPSHOTS = 8
CURVE_POINTS = 100


class Tracker:
    """Watches the variables of one descent; `observe` is called once an evaluation and never waits for the device.

    From evaluation `select_from` (counted from 0) on, the best iterate is sought among these alone.
    """

    def __init__(self, variables: list[Tensor], evaluations: int, select_from: int = 0) -> None:
        self.variables, self.select_from = variables, select_from
        self.spent = 0
        self._looks = 0
        self.best = [variable.detach().clone() for variable in variables]
        self.last = [variable.detach().clone() for variable in variables]
        self._curve = torch.full((evaluations,), math.nan, device=variables[0].device, dtype=variables[0].dtype)
        self._best_value = torch.full((), math.inf, device=variables[0].device, dtype=variables[0].dtype)
        self._wanted = snapshot_evaluations(evaluations)
        self.snapshots: list[Tensor] = []
        self.snapshot_at: list[int] = []

    def observe(self, value: Tensor) -> None:
        """Note the objective `value` (a scalar) of the variables as they stand now.

        A value that is not finite never becomes the best, so a diverged restart keeps its best finite iterate.
        """
        known = math.inf if self.spent == self.select_from else self._best_value
        improved = (value < known) & torch.isfinite(value)
        self._best_value = torch.where(improved, value, self._best_value)
        for index, variable in enumerate(self.variables):
            current = variable.detach()
            self.best[index] = torch.where(improved, current, self.best[index])
            self.last[index].copy_(current)
        self._curve[self.spent] = value
        self.spent += 1
        if self.spent in self._wanted:
            self.snapshots.append(self.last[0].clone())
            self.snapshot_at.append(self.spent)

    def is_over(self, every: int, tolerance: float) -> bool:
        """Whether to stop early: the objective is below `tolerance`, not finite, or does not move at all any more.

        Looks only once in `every` evaluations, since each look waits for the device.
        """
        if self.spent < every * (self._looks + 1):
            return False
        self._looks += 1
        recent = self._curve[self.spent - every : self.spent]
        return self.diverged() or self.best_value() < tolerance or bool((recent == recent[0]).all())

    def diverged(self) -> bool:
        """Whether any objective was not finite."""
        return not bool(torch.isfinite(self._curve[: self.spent]).all())

    def best_value(self) -> float:
        """The best objective so far; inf where none was finite."""
        return float(self._best_value)

    def latest_value(self) -> float:
        """The last objective; inf where it is not finite."""
        value = float(self._curve[self.spent - 1])
        return value if math.isfinite(value) else math.inf

    def reconstruction(
        self, *, labels: Tensor, label_method: str, uses: tuple[str, ...], evaluations: int, agents: int = 1
    ) -> Reconstruction:
        """The descent as an attack's result; `evaluations` counts all restarts.

        Of several `agents` that descend side by side each costs one evaluation a step.
        """
        curve = self._curve[: self.spent].tolist()
        chosen = sorted({round(i * (self.spent - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
        return Reconstruction(
            images=self.best[0],
            final=self.last[0],
            labels=labels,
            label_method=label_method,
            uses=uses,
            objective_start=curve[0],
            objective_end=self.best_value(),
            evaluations=evaluations,
            diverged=self.diverged(),
            curve=tuple((agents * (index + 1), curve[index]) for index in chosen),
            snapshots=tuple(self.snapshots),
            snapshot_at=tuple(agents * step for step in self.snapshot_at),
        )


def snapshot_evaluations(evaluations: int) -> set[int]:
    """At most eight evaluation numbers from 1 to `evaluations`, in geometric steps.

    >>> sorted(snapshot_evaluations(128))
    [1, 2, 4, 8, 16, 32, 64, 128]
    """
    return {round(evaluations ** (i / (SNAPSHOTS - 1))) for i in range(SNAPSHOTS)}
