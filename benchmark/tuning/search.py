"""The search: generations of settings, the published one first, all on the same batches, pruned between batches."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gradinv.benchmark.tuning.space import TuneError
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    import optuna

GENERATION = 8
"""Settings that are asked for together, whatever the number of processes: the same request finds the same preset."""

KEPT = 60.0
"""Percentile of the completed settings that one must reach so as not to be given up."""

Values = dict[str, float]
Measure = Callable[[Sequence[Values], int], list[float]]
"""The score of each setting on the private batch of that number; NaN where there is none."""


@dataclass
class Tried:
    """A setting with its scores, one a batch; `pruned`: after the last of them it was given up."""

    values: Values
    scores: list[float] = field(default_factory=list)
    pruned: bool = False

    @property
    def score(self) -> float:
        """The mean over its batches; NaN where one has no score."""
        return math.fsum(self.scores) / len(self.scores) if self.scores else math.nan

    @property
    def is_complete(self) -> bool:
        """Whether it has a score on every batch."""
        return not self.pruned and not math.isnan(self.score)


def search(
    ranges: Mapping[str, tuple[float, float]],
    published: Values,
    measure: Measure,
    *,
    trials: int,
    batches: int,
    direction: Literal["higher", "lower"],
    seed: int,
) -> Iterator[list[Tried]]:
    """All settings tried so far, after each generation; the first is `published`, which is never given up.

    Ranges are searched log-uniformly by Optuna's TPE (Bergstra et al. 2011, "Algorithms for Hyper-Parameter
    Optimization"). From the second batch on a setting is given up whose mean so far is not among the best 60 % of those
    completed in earlier generations (Optuna's percentile pruner). The result follows from the arguments and from what
    is measured.
    """
    study, distributions = _study(ranges, direction, seed)
    study.enqueue_trial(dict(published))
    every: list[Tried] = []
    while len(every) < trials:
        asked = [study.ask(distributions) for _ in range(min(GENERATION, trials - len(every)))]
        # The first one has its values from the request itself: a range's logarithm would change their last digit.
        generation = [
            Tried(dict(published) if trial.number == 0 else {name: trial.params[name] for name in ranges})
            for trial in asked
        ]
        _run(list(zip(asked, generation, strict=True)), measure, batches)
        for trial, tried in zip(asked, generation, strict=True):
            _tell(study, trial, tried)
        every += generation
        yield every


def best_of(every: Sequence[Tried], direction: Literal["higher", "lower"]) -> Tried:
    """The best setting that has a score on every batch, of equals the first; TuneError where none has."""
    complete = [tried for tried in every if tried.is_complete]
    if not complete:
        raise TuneError("no setting could be scored on every batch; the records in the run directory say why")
    # `max` keeps the first of equals, and the published setting is the first of all.
    return max(complete, key=lambda tried: tried.score if direction == "higher" else -tried.score)


def _study(
    ranges: Mapping[str, tuple[float, float]], direction: str, seed: int
) -> "tuple[optuna.Study, dict[str, optuna.distributions.BaseDistribution]]":
    try:
        import optuna
    except ImportError:
        raise RequestError('gradinv tune needs Optuna: pip install "gradinv[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Settings of one generation do not know each other's scores: taken for bad, they are not asked for twice.
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=GENERATION, constant_liar=True)
    study = optuna.create_study(
        direction="maximize" if direction == "higher" else "minimize",
        sampler=sampler,
        pruner=optuna.pruners.PercentilePruner(KEPT, n_startup_trials=1, n_warmup_steps=1),
    )
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True) for name, (low, high) in ranges.items()
    }
    return study, distributions


def _run(generation: "list[tuple[optuna.Trial, Tried]]", measure: Measure, batches: int) -> None:
    """Batch after batch, those that are left side by side."""
    left = generation
    for batch in range(batches):
        scores = measure([tried.values for _, tried in left], batch)
        for (trial, tried), score in zip(left, scores, strict=True):
            tried.scores.append(score)
            trial.report(tried.score, batch)
        # Asked when all have reported: what is given up depends on no order. The published setting is what all others
        # are compared with in the end, so that it is measured whole.
        for trial, tried in left:
            tried.pruned = bool(trial.number != 0 and batch < batches - 1 and trial.should_prune())
        left = [pair for pair in left if not pair[1].pruned and not math.isnan(pair[1].score)]


def _tell(study: "optuna.Study", trial: "optuna.Trial", tried: Tried) -> None:
    import optuna

    if tried.is_complete:
        study.tell(trial, tried.score)
    else:
        states = optuna.trial.TrialState
        # The sampler learns from what was given up, and leaves out what has failed: there a batch has no score.
        study.tell(trial, state=states.PRUNED if tried.pruned else states.FAIL)
