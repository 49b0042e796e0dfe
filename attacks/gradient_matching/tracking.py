"""What candidates remember of their paths, on the device: best iterate, objective curve, a few snapshots."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradinv.attacks.leak import Reconstruction

SNAPSHOTS = 8
CURVE_POINTS = 100


class Tracker:
    """Watches the variables, each (N, ...), of N candidates; `observe` never waits for the device.

    From evaluation `select_from` (counted from 0) on, the best iterate is sought among these alone. A candidate that is
    over is not observed any more; the last `fillers` are over from the start. `terms` names what objectives consist of.
    """

    def __init__(
        self,
        variables: Sequence[Tensor],
        evaluations: int,
        select_from: int = 0,
        fillers: int = 0,
        terms: Sequence[str] = (),
    ) -> None:
        self.variables, self.select_from = variables, select_from
        count = len(variables[0])
        # Where the candidate starts: there is an image to return though no objective may ever be finite.
        self.best = [variable.clone() for variable in variables]
        self.last = [variable.clone() for variable in variables]
        self.spent = [0] * count
        self.over = [False] * (count - fillers) + [True] * fillers
        self._taken = self._looked_at = 0
        self._moving = self._not_over()
        self._curve = variables[0].new_full((evaluations, count), math.nan)
        self._term_names = tuple(terms)
        self._terms = variables[0].new_full((evaluations, count, len(self._term_names)), math.nan)
        self._pulls: Tensor | None = None
        self._best_value = variables[0].new_full((count,), math.inf)
        self._wanted = snapshot_evaluations(evaluations)
        self._snapshots: dict[int, list[Tensor]] = {}

    @property
    def moving(self) -> Tensor | None:
        """Which candidates are not over, (N,) on the device; None where all of them move."""
        return self._moving

    def observe(self, values: Tensor, terms: Tensor | None = None) -> None:
        """Note the objectives `values` (N,) of the variables as they stand now, and their terms (N, T).

        A value that is not finite never becomes the best, so a diverged restart keeps its best finite iterate.
        """
        # Up to here the best of all was kept too, so that a descent which ends before has one to return.
        to_beat = torch.full_like(self._best_value, math.inf) if self._taken == self.select_from else self._best_value
        improved = (values < to_beat) & torch.isfinite(values)
        if self._moving is not None:
            improved &= self._moving
            values = torch.where(self._moving, values, math.nan)
        self._best_value = torch.where(improved, values, self._best_value)
        for best, variable in zip(self.best, self.variables, strict=True):
            best.copy_(torch.where(_beside(improved, variable), variable, best))
        self._keep_last()
        self._curve[self._taken] = values
        if terms is not None:
            self._terms[self._taken] = terms
        self._taken += 1
        # Counted on the host, from what it knows anyway: no count is ever fetched from the device.
        self.spent = [spent + (not over) for spent, over in zip(self.spent, self.over, strict=True)]
        if self._taken in self._wanted:
            self._snapshots[self._taken] = [last.clone() for last in self.last]

    def note_pull(self, members: slice, penalties: Tensor) -> None:
        """Note what a coupling adds to the objectives last observed of its members; penalties (G,)."""
        if self._pulls is None:  # 0 until a coupling begins
            self._pulls = torch.zeros_like(self._curve)
        self._pulls[self._taken - 1, members] = penalties

    def _keep_last(self) -> None:
        for last, variable in zip(self.last, self.variables, strict=True):
            if self._moving is None:
                last.copy_(variable)
            else:
                last.copy_(torch.where(_beside(self._moving, variable), variable, last))

    def look(self, every: int, tolerance: float) -> None:
        """See who is over: objective below `tolerance`, not finite, or not moving at all any more.

        Looks only once in `every` evaluations, since each look waits for the device.
        """
        if self._taken < self._looked_at + every:
            return
        self._looked_at = self._taken
        recent = self._curve[self._taken - every : self._taken]
        # Equal to the bit, at every step since the last look: what still changes in its last digit goes on.
        ended = ~torch.isfinite(recent).all(dim=0) | (self._best_value < tolerance) | (recent == recent[0]).all(dim=0)
        self.over = [was or now for was, now in zip(self.over, ended.tolist(), strict=True)]
        self._moving = self._not_over()

    def _not_over(self) -> Tensor | None:
        # None where all move: a mask would cost the optimizers a copy of every variable at every step.
        if not any(self.over):
            return None
        return torch.tensor([not over for over in self.over], device=self.variables[0].device)

    def diverged(self, index: int) -> bool:
        """Whether any objective of a candidate was not finite."""
        return not bool(torch.isfinite(self._curve[: self.spent[index], index]).all())

    def best_value(self, index: int) -> float:
        """The best objective of a candidate so far; inf where none was finite."""
        return float(self._best_value[index])

    def latest_value(self, index: int) -> float:
        """The last objective of a candidate; inf where it is not finite."""
        # Before the first evaluation this is the last row of all, in which nothing stands yet.
        value = float(self._curve[self.spent[index] - 1, index])
        return value if math.isfinite(value) else math.inf

    def curve(self, index: int) -> list[float]:
        """The objectives of a candidate, one an evaluation."""
        values: list[float] = self._curve[: self.spent[index], index].tolist()
        return values

    def terms(self, index: int, steps: Sequence[int]) -> dict[str, tuple[float, ...]]:
        """Name -> the weighted terms of a candidate's objective at these steps (from 0), and what a coupling added.

        The objective is the sum of all but `group`.
        """
        columns = dict(zip(self._term_names, self._terms[list(steps), index].T.tolist(), strict=True))
        if self._pulls is not None:
            columns["group"] = self._pulls[list(steps), index].tolist()
        return {name: tuple(values) for name, values in columns.items()}

    def reconstruction(
        self,
        index: int,
        images: Callable[[Sequence[Tensor]], Tensor],
        *,
        labels: Tensor,
        label_method: str,
        uses: tuple[str, ...],
        evaluations: int,
        cost: int = 1,
    ) -> Reconstruction:
        """A candidate's descent as an attack's result, with the `images` that its variables stand for.

        `evaluations` counts all restarts. A step costs `cost` of them: agents that descend side by side, and states of
        the network, all count.
        """

        def images_of(variables: Sequence[Tensor]) -> Tensor:
            return images([variable[index : index + 1] for variable in variables])[0]

        curve, spent = self.curve(index), self.spent[index]
        # A set, for of fewer evaluations than points several round to the same one.
        chosen = sorted({round(i * (spent - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
        # Snapshots from after its end would show a candidate that stands still while others move on.
        kept = {step: images_of(variables) for step, variables in self._snapshots.items() if step <= spent}
        return Reconstruction(
            images=images_of(self.best),
            final=images_of(self.last),
            labels=labels,
            label_method=label_method,
            uses=uses,
            objective_start=curve[0],
            objective_end=self.best_value(index),
            evaluations=evaluations,
            diverged=self.diverged(index),
            curve=tuple((cost * (step + 1), curve[step]) for step in chosen),
            terms=self.terms(index, chosen),
            snapshots=tuple(kept.values()),
            snapshot_at=tuple(cost * step for step in kept),
        )


def _beside(mask: Tensor, variable: Tensor) -> Tensor:
    """A mask (N,) in the shape that chooses among N candidates."""
    return mask.view(-1, *[1] * (variable.ndim - 1))


def snapshot_evaluations(evaluations: int) -> set[int]:
    """At most eight evaluation numbers from 1 to `evaluations`, in geometric steps.

    >>> sorted(snapshot_evaluations(128))
    [1, 2, 4, 8, 16, 32, 64, 128]
    """
    return {round(evaluations ** (i / (SNAPSHOTS - 1))) for i in range(SNAPSHOTS)}
