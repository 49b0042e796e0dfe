"""Candidates on their way down, side by side: their variables, their optimizer and what they remember."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.coupling import Bond
from gradinv.attacks.gradient_matching.evaluation import Evaluator
from gradinv.attacks.gradient_matching.optimizers import Optimizer
from gradinv.attacks.gradient_matching.tracking import Tracker
from gradinv.attacks.gradient_matching.variables import Gradients, Variables
from gradinv.attacks.leak import Reconstruction

CHECK_EVERY = 50
"""Evaluations between two looks at the objective from the host: each look waits for the device."""

Bonds = Sequence[tuple[slice, Bond]]


class Descent:
    """Minimises the objective of N candidates from where their variables are, by so many evaluations of each.

    Of the candidates the last `fillers` only fill the evaluator's calls: they stand still and nothing is made of them.
    Iterates from before evaluation `select_from` are not selected. Each of the `bonds` couples the candidates of its
    slice: what it adds to their objectives moves them, but selects nothing. `terms` names those of the objective.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        variables: Variables,
        optimizer: Optimizer,
        *,
        evaluations: int,
        seeds: Sequence[int],
        fillers: int = 0,
        select_from: int = 0,
        bonds: Bonds = (),
        terms: Sequence[str] = (),
    ) -> None:
        self.evaluator, self.variables, self.evaluations, self.bonds = evaluator, variables, evaluations, bonds
        self.tracker = Tracker(variables.tensors, evaluations, select_from, fillers, terms)
        self._stepper = optimizer.start(variables.tensors, evaluations, seeds)

    @torch.no_grad()
    def descend(self, tolerance: float) -> None:
        """Take all steps; a candidate from which nothing more can come stands still."""
        for step in range(self.evaluations):
            self.tracker.look(CHECK_EVERY, tolerance)
            if all(self.tracker.over):
                return
            self._renew_bonds(step)
            self.step()

    def step(self) -> None:
        """Evaluate all candidates once and move them."""
        candidates = self.variables.candidates()
        values, slopes, terms = self.evaluator(candidates, self.tracker.over)
        # Before the pull, which must not decide what is best, and before the move, since the values are of where the
        # variables stand now.
        self.tracker.observe(values, terms)
        values, slopes = self._pulled(candidates[0], values, slopes)
        self._stepper.update(values, self.variables.gradients(slopes), self.tracker.moving)
        self.variables.project(self.variables.tensors)

    def _renew_bonds(self, step: int) -> None:
        for members, bond in self.bonds:
            if bond.is_due(step):
                latest = [self.tracker.latest_value(index) for index in range(members.start, members.stop)]
                # The images as they are now: those of the last evaluation have been moved since.
                bond.renew(self.variables.candidates()[0][members], latest)

    def _pulled(self, images: Tensor, values: Tensor, slopes: Gradients) -> tuple[Tensor, Gradients]:
        """Objectives and gradients with what the bonds add to them."""
        pulls = [(members, pull) for members, bond in self.bonds if (pull := bond.pull(images[members])) is not None]
        if not pulls:
            return values, slopes
        # Copies, because the evaluator may own what it returned, and the tracker has seen the values without the pull.
        values, images_slope = values.clone(), torch.zeros_like(images) if slopes[0] is None else slopes[0].clone()
        for members, (penalties, pull_slope) in pulls:
            self.tracker.note_pull(members, penalties)
            values[members] += penalties
            images_slope[members] += pull_slope
        return values, [images_slope, *slopes[1:]]


class Agents:
    """The agents of one restart of one trial, or its only candidate: what is to be read of a descent about them.

    `labels` None: each agent optimises its own. A step of one costs an evaluation at each of `states`.
    """

    def __init__(self, descent: Descent, members: slice, labels: Tensor | None, bond: Bond | None, states: int) -> None:
        self.descent, self.members, self.labels, self.bond, self.states = descent, members, labels, bond, states

    @property
    def spent(self) -> int:
        """Evaluations of all agents."""
        return self.states * sum(self.descent.tracker.spent[self.members])

    @property
    def best(self) -> int:
        """The candidate whose selected iterate has the best objective; a bond's pull has no part in it."""
        return min(range(self.members.start, self.members.stop), key=self.descent.tracker.best_value)

    @property
    def best_value(self) -> float:
        """The best agent's best objective."""
        return self.descent.tracker.best_value(self.best)

    def reconstruction(self, label_method: str, uses: tuple[str, ...], evaluations: int) -> Reconstruction:
        """The best agent's descent as the attack's result, with optimised labels where `labels` is None."""
        tracker, images = self.descent.tracker, self.descent.variables.images
        reconstruction = tracker.reconstruction(
            self.best,
            images,
            # Label logits are the last variable, taken from the iterate that is selected and not from the latest.
            labels=tracker.best[-1][self.best].argmax(dim=-1) if self.labels is None else self.labels,
            label_method=label_method,
            uses=uses,
            evaluations=evaluations,
            cost=self.states * (self.members.stop - self.members.start),
        )
        if self.bond is None:
            return reconstruction
        selected = images([best[self.members] for best in tracker.best])
        return self.bond.describe(reconstruction, selected, self.best - self.members.start)
