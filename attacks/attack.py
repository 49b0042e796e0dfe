"""What every attack is: hyperparameters that print themselves, needs that can be checked, one method that attacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.registry import Parametrised
from gradinv.attacks.victim import Victim
from gradinv.metrics.image_size import ImageSize, sides


@dataclass(frozen=True)
class Conditions:
    """What decides before a trial whether an attack is possible: what is granted, sizes, and what may be spent.

    `image_size` is a number of pixels, or `64x80` (`sides` reads both), `bn_layers` counts the victim's batch-norm
    layers, `trained` says whether it has learned from images, `budget` is in evaluations; None stands
    for the paper's own. `channels` are those of an image. `network` is of the victim's architecture, its weights are
    any; None where it is not known. `autoencoder`: whether one has been trained on the public images that are granted.
    """

    # No leak and no weights: the planner asks before anything is trained.
    threat_model: ThreatModel
    batch_size: int
    num_classes: int
    bn_layers: int
    trained: bool
    image_size: ImageSize
    budget: int | None = None
    network: nn.Module | None = field(default=None, repr=False)
    channels: int = 3
    autoencoder: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return (self.channels, *sides(self.image_size))


class Attack(Parametrised):
    """Base class. A subclass takes keyword-only, typed hyperparameters and fills in `reconstruct`.

    That is all it needs. An attack with a loop of its own can also run several trials side by side, where that is
    faster: it then declares `candidates` and fills in `reconstruct_together`.
    """

    takes_observations: bool = False
    """Whether it goes by every update of the batch that a leak holds; others are skipped where it holds more than one.

    Evaluating a candidate at k states of the network is k evaluations.
    """

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Reconstruct the private batch from the leak.

        `seed` decides every random draw. `budget` is the number of evaluations that may be spent, restarts and all;
        None means the paper's own. The same arguments give the same bits on the same machine's CPU.
        """
        raise TypeError(f"{type(self).__name__} has no reconstruct method")

    @property
    def candidates(self) -> int | None:
        """How many candidates one trial evaluates at a time, for an attack that runs several trials side by side.

        A declaration: where it is a number, a runner that takes N candidates together hands N // candidates leaks to
        `reconstruct_together`; a single leak, and every leak where it is None, goes to `reconstruct`. Who declares it
        promises that no bit of a trial depends on the company.
        """
        return None

    def reconstruct_together(
        self, leaks: Sequence[Leak], victim: Victim, *, seeds: Sequence[int], budget: int | None = None
    ) -> list[Reconstruction]:
        """Reconstruct several batches from leaks of the same shape, each by itself, with `budget` each."""
        pairs = zip(leaks, seeds, strict=True)
        return [self.reconstruct(leak, victim, seed=seed, budget=budget) for leak, seed in pairs]

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Why the attack is impossible under these conditions, in one line; None where it is possible."""
        return None

    def reason_impossible(self, conditions: Conditions) -> str | None:
        """Why it is impossible, in one line, by what every attack declares or by its own account; else None."""
        received = conditions.threat_model.observations
        if received > 1 and not self.takes_observations:
            return f"goes by one update of the batch, and {received} are received; take observations: 1"
        return self.reason_to_skip(conditions)

    def evaluations(self, budget: int | None) -> int:
        """The most evaluations that `reconstruct` would spend with this budget."""
        if budget is None:
            raise ValueError(f"{type(self).__name__} has no budget of its own; the suite must give one")
        return budget

    @property
    def search_space(self) -> Mapping[str, float]:
        """Hyperparameter -> factor: `gradinv tune` seeks it log-uniformly between its value over and times the factor.

        Empty where there is nothing to tune.
        """
        return {}

    @property
    def fills_every_slot(self) -> bool:
        """Whether there is an image for every slot; slots left open are scored as the mean image."""
        return True

    def prior_only(self) -> "Attack | None":
        """The same attack blind to the gradient (the control `prior_only`); None for an attack without a prior."""
        return None

    @property
    def uses_statistics(self) -> bool:
        """Whether the attack goes by granted batch-norm statistics, so that controls without them are due."""
        return False

    def no_statistics(self) -> "Attack | None":
        """The same attack blind to the gradient and to granted batch-norm statistics; None where nothing is left."""
        return None
