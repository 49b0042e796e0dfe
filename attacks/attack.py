"""What every attack is: hyperparameters that print themselves, needs that can be checked, one method that attacks."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.registry import Parametrised
from gradinv.attacks.victim import Victim


@dataclass(frozen=True)
class Setting:
    """What decides before a trial whether an attack is possible in a cell."""

    threat_model: ThreatModel
    batch_size: int
    num_classes: int
    bn_layers: int
    trained: bool
    image_size: int
    budget: int | None = None


class Attack(Parametrised):
    """Base class. A subclass takes keyword-only, typed hyperparameters and fills in `reconstruct`.

    `engine` is how the runner wants candidates to be evaluated; an attack with a loop of its own may ignore it.
    """

    engine: Engine = Engine()

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Reconstruct the private batch from the leak.

        `seed` decides every random draw. `budget` is the number of evaluations that may be spent, restarts and all;
        None means the paper's own. The same arguments give the same bits on the same machine's CPU.
        """
        raise TypeError(f"{type(self).__name__} has no reconstruct method")

    @property
    def candidates(self) -> int | None:
        """Candidates of one trial that descend side by side; None where trials cannot share a descent."""
        return None

    def reconstruct_together(
        self, leaks: Sequence[Leak], victim: Victim, *, seeds: Sequence[int], budget: int | None = None
    ) -> list[Reconstruction]:
        """Reconstruct several batches from leaks of the same shape, each by itself, with `budget` each."""
        pairs = zip(leaks, seeds, strict=True)
        return [self.reconstruct(leak, victim, seed=seed, budget=budget) for leak, seed in pairs]

    def reason_to_skip(self, setting: Setting) -> str | None:
        """Why the attack is impossible in this setting, in one line; None where it is possible."""
        return None

    def evaluations(self, budget: int | None) -> int:
        """The most evaluations that `reconstruct` would spend with this budget."""
        if budget is None:
            raise ValueError(f"{type(self).__name__} has no budget of its own; the suite must give one")
        return budget

    def prior_only(self) -> "Attack | None":
        """The same attack blind to the gradient (the control `prior_only`); None for an attack without a prior."""
        return None
