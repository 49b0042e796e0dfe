"""Agents: the candidates of one trial that descend together, held together by their consensus."""

from collections import Counter

from gradinv.attacks.gradient_matching.descent import Descent
from gradinv.attacks.gradient_matching.group import Consensus, find_consensus
from gradinv.attacks.gradient_matching.tracking import Tracker
from gradinv.attacks.leak import Reconstruction
from torch import Tensor


class Agents:
    """The agents of one restart of one trial: the candidates from `first` on of a descent that trials may share.

    Each has its own start, noise, optimizer state, gradient and batch-norm statistics. `labels` None: each agent
    optimises its own.
    """

    def __init__(self, descent: Descent, first: int, labels: Tensor | None) -> None:
        self.descent, self.labels, self.group = descent, labels, descent.group
        self.members = range(first, first + self.group.agents)
        self.registrations: Counter[str] = Counter()

    @property
    def tracker(self) -> Tracker:
        """What the candidates remember."""
        return self.descent.tracker

    @property
    def spent(self) -> int:
        """Evaluations of all agents."""
        return sum(self.tracker.spent[index] for index in self.members)

    @property
    def best(self) -> int:
        """The candidate whose selected iterate has the best objective; the pull has no part in it."""
        return min(self.members, key=self.tracker.best_value)

    @property
    def best_value(self) -> float:
        """The best agent's best objective."""
        return self.tracker.best_value(self.best)

    def before_step(self, step: int) -> None:
        """Compute the consensus where it is due; it is constant until the next."""
        if self.group.is_due(step, self.descent.evaluations):
            latest = min(range(len(self.members)), key=lambda agent: self.tracker.latest_value(self.members[agent]))
            consensus = find_consensus(self.group, self._mine(self.descent.images), self.labels, latest)
            self.registrations += consensus.registrations
            if self.descent.consensus is None:
                self.descent.consensus = self.descent.images.clone()
            self._mine(self.descent.consensus).copy_(consensus.targets)

    def reconstruction(self, label_method: str, uses: tuple[str, ...], evaluations: int) -> Reconstruction:
        """The best agent's descent as the attack's result, with optimised labels where `labels` is None."""
        optimised = self.tracker.best[1][self.best].argmax(dim=-1) if self.labels is None else self.labels
        return self.tracker.reconstruction(
            self.best,
            labels=optimised,
            label_method=label_method,
            uses=uses,
            evaluations=evaluations,
            agents=self.group.agents,
        )

    def agreement(self) -> Consensus:
        """The consensus of the selected iterates, in the slots of the best agent."""
        return find_consensus(self.group, self._mine(self.tracker.best[0]), self.labels, self.members.index(self.best))

    def _mine(self, candidates: Tensor) -> Tensor:
        """The agents' own among all candidates."""
        return candidates[self.members.start : self.members.stop]
