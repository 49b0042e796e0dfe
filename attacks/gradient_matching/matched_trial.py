"""One trial of a pack under way, and how what belongs to trials is laid out for their candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.descent import Agents
from gradinv.attacks.gradient_matching.evaluation import Counted, Engine, InTurn
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.priors import limits_of_statistics
from gradinv.attacks.gradient_matching.variables import Given, Variables
from gradinv.attacks.labels import limits_of
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.victim import Victim

Part = TypeVar("Part")


@dataclass
class MatchedTrial:
    """One leak under way: its seed, its labels (None: optimised), and its restarts so far.

    `factors` is what its terms are multiplied by (nothing: weights are taken as they are), found by `weighing`
    evaluations before the first restart.
    """

    leak: Leak
    seed: int
    labels: Tensor | None
    label_method: str
    restarts: list[Agents] = field(default_factory=list)
    engine_notes: list[str] = field(default_factory=list)
    factors: list[Tensor] = field(default_factory=list)
    weighing: int = 0

    @property
    def spent(self) -> int:
        """Evaluations of all restarts, and those before them."""
        return self.weighing + sum(agents.spent for agents in self.restarts)

    @property
    def best(self) -> Agents:
        """The restart with the best objective."""
        return min(self.restarts, key=lambda agents: agents.best_value)

    def given(self, objective: Objective) -> Given:
        """What the trial gives an evaluation besides the candidate."""
        return {**objective.given(self.leak, self.labels), "factors": self.factors}

    def weigh(self, objective: Objective, variables: Variables) -> None:
        """Find what the trial's terms are to be multiplied by, so that each starts at its weight.

        By evaluating where its first candidate starts (`variables`); agents and restarts share the result, so
        that their objectives can be compared. A term that starts at nothing keeps its weight.
        """
        states, count = self.leak.observations, objective.victim.evaluations
        evaluator = Counted(InTurn(objective, [self.given(objective)]), count, states)
        terms = evaluator(variables.candidates(), [False]).terms[0]
        weights = terms.new_tensor(objective.weights)
        usable = torch.isfinite(terms) & (terms > 0)
        # Terms have their weights in them already: what is left of the quotient is one over the value at the start.
        self.factors, self.weighing = [torch.where(usable, weights / terms, torch.ones_like(terms))], states

    def reconstruction(self, victim: Victim, uses: tuple[str, ...], engine: Engine) -> Reconstruction:
        """The best restart's result, with what is to be said of all of them; `uses` as there."""
        result = self.best.reconstruction(self.label_method, uses, self.spent)
        limits = limits_of(self.leak, victim, self.label_method)
        if "bn_statistics" in uses:
            values = victim.bn_values(self.leak.image_shape)
            limits += limits_of_statistics([self.leak.batch_size * count for count in values])
        used = engine.fallback if self.engine_notes else engine
        # What a coupling has noted goes first.
        return replace(result, notes=(*result.notes, *self.engine_notes, *limits), engine=str(used))


def each(parts: Sequence[Part], times: int) -> list[Part]:
    """Every part so many times in a row."""
    return [part for part in parts for _ in range(times)]


def filled(parts: list[Part], fillers: int) -> list[Part]:
    """The parts, and then the first so many times more."""
    return parts + parts[:1] * fillers


def reason_of_rest(left: int, sharing: int, states: int = 1) -> str:
    """Why evaluations were left of a budget: too few for so many to share, or the descent came to an end; else empty.

    >>> reason_of_rest(3, sharing=4)
    '3 evaluations are too few for 4 restarts and agents to share'
    """
    if left == 0:
        return ""
    if left < sharing * states:
        each_at = f", each at {states} states of the network" if states > 1 else ""
        return f"{left} evaluations are too few for {sharing} restarts and agents to share{each_at}"
    return "stopped early, the objective was below the tolerance or did not move any more"
