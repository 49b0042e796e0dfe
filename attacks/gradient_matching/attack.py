"""Gradient matching: candidate -> distance to the observed update + priors -> optimizer step, the attack under most.

What an author of a variant may override is marked so: `start`, `images`, `project`, and `objective` with `beside`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from gradinv.attacks.attack import Attack, Conditions
from gradinv.attacks.gradient_matching.coupling import Coupling
from gradinv.attacks.gradient_matching.descent import Agents, Descent
from gradinv.attacks.gradient_matching.distances import Distance
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.gradient_matching.matched_trial import MatchedTrial, each, filled, reason_of_rest
from gradinv.attacks.gradient_matching.needs import (
    LabelPolicy,
    lacks_autoencoder,
    lacks_budget,
    lacks_labels,
    lacks_scale,
    lacks_statistics,
)
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.optimizers import Optimizer
from gradinv.attacks.gradient_matching.parametrisations import parametrisation_of
from gradinv.attacks.gradient_matching.parts import create_init
from gradinv.attacks.gradient_matching.priors import Prior
from gradinv.attacks.gradient_matching.variables import Variables
from gradinv.attacks.known_defense import KnownDefense
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.victim import Victim


class GradientMatching(Attack):
    """Minimise `distance` to the observed update plus weighted `priors` over the images.

    `box` keeps the images inside the valid pixel range. A restart ends early when the objective falls below
    `tolerance`, and so does the attack. Restarts share what is left of the budget; the one with the best objective is
    returned. With a `coupling` each restart is its agents, and the best one counts. `engine` says how candidates are
    evaluated, `init` is the key of where images start. With `shares` weights are shares of the objective where the
    first candidate starts: one evaluation finds what each term is there; then a term counts its weight times its value
    over that. With `levels` above 1 a pyramid stands for the images, of which `init` draws the finest level; with
    `decoder` the code of the granted autoencoder, at first that of what `init` draws (`parametrisations.py`).

    Where the leak holds several updates of the batch, each from another state of the network, the mean of the distances
    counts, and a step costs an evaluation at every state.

    Trials of the same shape may descend side by side; none sees anything of another. A subclass with a `reconstruct`
    or `reconstruct_together` of its own says in its body whether it keeps that promise: `packs_trials = False`, and
    each trial is run by itself; True, and both its methods give a trial the same bits.
    """

    engine: Engine = Engine()
    packs_trials: bool = True
    takes_observations = True  # as further distances

    def __init__(
        self,
        *,
        distance: Distance | None,
        optimizer: Optimizer,
        iterations: int,
        priors: Sequence[Prior] = (),
        restarts: int = 1,
        labels: LabelPolicy | None = None,
        coupling: Coupling | None = None,
        box: bool = True,
        tolerance: float = 0.0,
        shares: bool = False,
        init: str = "normal",
        levels: int = 1,
        decoder: bool = False,
    ) -> None:
        self.distance, self.optimizer, self.shares, self.init = distance, optimizer, shares, create_init(init)
        self.parametrisation = parametrisation_of(levels, decoder, box)
        # A prior without weight is none: it must neither cost a pass nor ask for statistics.
        self.priors = [prior for prior in priors if prior.weight != 0]
        self.iterations, self.restarts, self.coupling = iterations, restarts, coupling
        self.labels, self.tolerance = labels or LabelPolicy(), tolerance

    def __init_subclass__(cls, **options: Any) -> None:
        """TypeError where a subclass reconstructs in its own way and does not say whether trials may be packed."""
        super().__init_subclass__(**options)
        overridden = {"reconstruct", "reconstruct_together"} & vars(cls).keys()
        if overridden and "packs_trials" not in vars(cls):
            methods = " and ".join(sorted(overridden))
            raise TypeError(f"{cls.__name__} overrides {methods}, so its body must say packs_trials = False (or True)")

    @property
    def agents(self) -> int:
        """Candidates of one trial that descend side by side."""
        return self.coupling.agents if self.coupling else 1

    @property
    def candidates(self) -> int | None:
        """Its agents; None where a subclass says that trials are not to be packed."""
        return self.agents if self.packs_trials else None

    @property
    def beside(self) -> int:
        """How many variables go to the objective beside the images. May be overridden.

        They come last in `start`. The label logits, where labels are optimised.
        """
        return 1 if self.labels.joint else 0

    def objective(self, victim: Victim, transform: str) -> Objective:
        """What is minimised; `transform` is the key of what is known of a defense. May be overridden."""
        return Objective(victim, self.distance, self.priors, transform=transform, autocast=self.engine.autocast)

    def start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
        """The variables from which one candidate starts, on the victim's device. May be overridden.

        What stands for images (B, C, H, W) as `init` draws them, mostly themselves; where labels are optimised standard
        normal logits (B, classes) as well, which come last.
        """
        dtype = next(iter(leak.gradients.values())).dtype
        # Drawn on the CPU, so that equal seeds start from equal images on every device.
        generator = torch.Generator().manual_seed(seed)
        images = self.init.images(leak.shape, generator, dtype)
        variables = self.parametrisation.start(images, leak, generator)
        if self.labels.joint:
            variables.append(torch.randn(leak.batch_size, leak.num_classes, generator=generator, dtype=dtype))
        return [variable.to(victim.device) for variable in variables]

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        """The images (N, B, C, H, W) that the variables of N candidates stand for. May be overridden.

        By its parametrisation, unless overridden: for instance by what a generator makes of latent codes. Each variable
        is (N, ...), as `start` made it for one. Differentiable. A candidate's images must not depend on its company: a
        generator goes through `torch.stack([generate(code) for code in variables[0]])`.
        """
        return self.parametrisation.images(variables)

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """Bring variables of N candidates back, in place, to where they may be; after every step. May be overridden.

        Clamps images to the valid pixel range where `box` says so; what else stands for them may be anywhere.
        """
        self.parametrisation.project(variables, leak)

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Why priors, labels, budget or coupling make the attack impossible; None where it is possible."""
        return (
            lacks_statistics(self.priors, conditions)
            or lacks_autoencoder((*self.priors, self.parametrisation), conditions)
            or lacks_scale(self.distance, conditions)
            or lacks_labels(self.labels, conditions)
            or self._lacks_budget(conditions.budget, conditions.threat_model.observations)
            or (self.coupling.reason_to_skip(conditions) if self.coupling else None)
        )

    def evaluations(self, budget: int | None) -> int:
        """The budget, or else the paper's: iterations times restarts times agents, and what finds the weights."""
        return self.iterations * self.restarts * self.agents + self._weighing if budget is None else budget

    def prior_only(self) -> "GradientMatching | None":
        """The same attack with the distance off; None where no prior is left."""
        return self._blind(self.priors)

    @property
    def uses_statistics(self) -> bool:
        """Whether a prior compares batch-norm statistics."""
        return any(prior.needs_bn_statistics for prior in self.priors)

    def no_statistics(self) -> "GradientMatching | None":
        """The same attack with the distance and every batch-norm prior off; None where no prior is left."""
        return self._blind([prior for prior in self.priors if not prior.needs_bn_statistics])

    def _blind(self, priors: Sequence[Prior]) -> "GradientMatching | None":
        if not priors:
            return None
        # A new object and not this one changed: attack and control may stand side by side.
        blind = type(self)(**self.hyperparameters)
        blind.distance, blind.priors = None, list(priors)
        return blind

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Match the leak's update; returns the iterate whose own objective was best."""
        return self._matched([leak], victim, [seed], budget)[0]

    def reconstruct_together(
        self, leaks: Sequence[Leak], victim: Victim, *, seeds: Sequence[int], budget: int | None = None
    ) -> list[Reconstruction]:
        """Every leak by itself, side by side; one after another where a subclass says that trials are not packed."""
        if not self.packs_trials:
            return super().reconstruct_together(leaks, victim, seeds=seeds, budget=budget)
        return self._matched(leaks, victim, seeds, budget)

    def _matched(
        self, leaks: Sequence[Leak], victim: Victim, seeds: Sequence[int], budget: int | None
    ) -> list[Reconstruction]:
        too_little = self._lacks_budget(budget, leaks[0].observations)
        if too_little:
            raise ValueError(too_little)
        trials = [
            MatchedTrial(leak, seed, *self.labels.resolved(leak, victim, blind=self.distance is None))
            for leak, seed in zip(leaks, seeds, strict=True)
        ]
        with self.engine.numerics():
            # Trials of a pack may have different defenses, hence transforms, and an objective has one.
            for transform in dict.fromkeys(leak.transform for leak in leaks):
                sharing = [trial for trial in trials if trial.leak.transform == transform]
                self._match(victim, transform, sharing, self.evaluations(budget))
        return [self._reconstruction(trial, victim, self.evaluations(budget)) for trial in trials]

    def _match(self, victim: Victim, transform: str, trials: Sequence[MatchedTrial], budget: int) -> None:
        """All restarts of these trials, with `budget` for each trial."""
        objective = self.objective(victim, transform)
        with objective.ready():
            if self.shares:
                for trial in trials:
                    start = self._start(objective, trial.leak, trial.seed)
                    trial.weigh(objective, self._variables([start], trial.leak, objective))
            for restart in range(self.restarts):
                self._restart(objective, trials, restart, budget)

    def _restart(self, objective: Objective, trials: Sequence[MatchedTrial], restart: int, budget: int) -> None:
        """One restart of every trial that has not reached the tolerance, with a fair share of what it has left.

        A share is of steps: where a leak holds several updates each of them costs as many evaluations.
        """
        # Grouped by share, since candidates side by side take equally many steps.
        shares: dict[int, list[MatchedTrial]] = {}
        for trial in trials:
            if not trial.restarts or trial.best.best_value >= self.tolerance:
                # By restarts first: what one leaves by ending early goes to those after it.
                share = (budget - trial.spent) // (self.restarts - restart) // self.agents // trial.leak.observations
                shares.setdefault(share, []).append(trial)
        for share, sharing in shares.items():
            self._descend(objective, sharing, restart, share)

    def _descend(self, objective: Objective, trials: Sequence[MatchedTrial], restart: int, evaluations: int) -> None:
        """Let the agents of these trials descend, each from its own start, with `evaluations` each."""
        agents = self.agents
        # Numbered through all restarts, so that no agent starts where an earlier one did.
        seeds = [trial.seed + restart * agents + agent for trial in trials for agent in range(agents)]
        pairs = zip(each(trials, agents), seeds, strict=True)
        starts = [self._start(objective, trial.leak, seed) for trial, seed in pairs]
        given = each([trial.given(objective) for trial in trials], agents)
        # The first candidate again and again, so that every call has the same shape, however many trials there are:
        # convolutions and BLAS round by shape, and no bit of a trial may depend on its company.
        fillers = self.engine.fillers(len(seeds))
        variables = self._variables(filled(starts, fillers), trials[0].leak, objective)
        evaluator, note = self.engine.evaluator(objective, variables.candidates(), filled(given, fillers))
        teams = [slice(first, first + agents) for first in range(0, len(seeds), agents)]
        bonds = [self.coupling.bond(evaluations, trial.labels) if self.coupling else None for trial in trials]
        bound = [(members, bond) for members, bond in zip(teams, bonds, strict=True) if bond]
        for members, coupled in bound:
            coupled.meet(variables.candidates()[0][members])
        descent = Descent(
            evaluator,
            variables,
            self.optimizer,
            evaluations=evaluations,
            seeds=filled(seeds, fillers),
            fillers=fillers,
            select_from=self.coupling.select_from(evaluations) if self.coupling else 0,
            bonds=bound,
            terms=objective.term_names,
        )
        for trial, members, bond in zip(trials, teams, bonds, strict=True):
            trial.restarts.append(Agents(descent, members, trial.labels, bond, trial.leak.observations))
            trial.engine_notes.extend([note] if note and note not in trial.engine_notes else [])
        descent.descend(self.tolerance)

    def _start(self, objective: Objective, leak: Leak, seed: int) -> list[Tensor]:
        """Where one candidate starts, with what is known of a defense to be found beside its images."""
        variables = self.start(leak, objective.victim, seed)
        # Before label logits, which are the last wherever they are read.
        variables[len(variables) - self.beside : len(variables) - self.beside] = objective.begin(leak)
        return variables

    def _variables(self, starts: Sequence[list[Tensor]], leak: Leak, objective: Objective) -> Variables:
        """The variables of all candidates, stacked; trials side by side have the same shape and normalisation."""
        return Variables(
            [torch.stack(parts) for parts in zip(*starts, strict=True)],
            images=self.images,
            project=partial(self.project, leak=leak),
            beside=self.beside + objective.secrets,
        )

    def _reconstruction(self, trial: MatchedTrial, victim: Victim, budget: int) -> Reconstruction:
        """The trial's result, with why some of its budget is left."""
        result = trial.reconstruction(victim, self._uses(trial.label_method), self.engine)
        left = 0 if result.diverged else budget - result.evaluations
        stopped = reason_of_rest(left, sharing=self.restarts * self.agents, states=trial.leak.observations)
        known = KnownDefense(trial.leak.transform, victim)
        return replace(
            result,
            images=known.private(result.images, trial.leak),
            final=known.private(result.final, trial.leak),
            snapshots=tuple(known.private(images, trial.leak) for images in result.snapshots),
            stopped=stopped,
        )

    def _lacks_budget(self, budget: int | None, states: int) -> str | None:
        spend = self.evaluations(budget)
        return lacks_budget(spend, restarts=self.restarts, agents=self.agents, weighing=self._weighing, states=states)

    @property
    def _weighing(self) -> int:
        """Evaluations before the first restart."""
        return 1 if self.shares else 0

    def _uses(self, label_method: str) -> tuple[str, ...]:
        taught = self.parametrisation.needs_autoencoder or any(prior.needs_autoencoder for prior in self.priors)
        used = (self.distance is not None, label_method == "given", self.uses_statistics, taught)
        return tuple(compress(("gradient", "labels", "bn_statistics", "auxiliary_images"), used))
