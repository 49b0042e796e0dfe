"""From a request to a preset file: space, search, and what stands in the file."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from gradinv.attacks.registry import hyperparameters
from gradinv.benchmark.experiment import PlannedTrial
from gradinv.benchmark.tuning.bench import Bench
from gradinv.benchmark.tuning.preset_file import PresetFile, Provenance
from gradinv.benchmark.tuning.search import Tried, Values, best_of, search
from gradinv.benchmark.tuning.space import Space
from gradinv.metrics.images import METRICS
from gradinv.metrics.keys import parse_key

Direction = Literal["higher", "lower"]
VERSIONS = ("gradinv", "torch", "timm", "optuna")


@dataclass(frozen=True)
class Asked:
    """A tuning: so many settings (`trials`), each on at most so many private batches; `preset` names the result."""

    space: Space
    trials: int
    batches: int
    seed: int
    preset: str


@dataclass(frozen=True)
class Progress:
    """What a tuning has come to: settings tried so far, the best of them, and its preset."""

    every: list[Tried]
    best: Tried
    preset: PresetFile


def tune(asked: Asked, bench: Bench) -> Iterator[Progress]:
    """The preset found so far, after every generation of settings; the last is the result."""
    direction = direction_of(bench.objective)

    def measure(settings: Sequence[Values], batch: int) -> list[float]:
        return bench.score([asked.space.key_of(values) for values in settings], batch)

    generations = search(
        asked.space.ranges,
        asked.space.published,
        measure,
        trials=asked.trials,
        batches=asked.batches,
        direction=direction,
        seed=asked.seed,
    )
    for every in generations:
        best = best_of(every, direction)
        yield Progress(every, best, _preset(asked, bench, every, best))


def direction_of(objective: str) -> Direction:
    """Whether the metric is better higher or lower."""
    return "lower" if METRICS.constants(objective)["direction"] == "lower" else "higher"


def _preset(asked: Asked, bench: Bench, every: list[Tried], best: Tried) -> PresetFile:
    key = asked.space.key_of(best.values)
    # Of the first batch: what a preset says of its origin is the same for all of them.
    (trial,) = bench.planned([key], 0)
    return PresetFile(
        attack=asked.space.key.name,
        preset=asked.preset,
        # As the attack takes them: whole numbers stay whole.
        hyperparameters=hyperparameters(parse_key(key)),
        tuning=_provenance(asked, bench, every, best, trial),
    )


def _provenance(asked: Asked, bench: Bench, every: list[Tried], best: Tried, trial: PlannedTrial) -> Provenance:
    spec, cell = trial.spec, trial.cell
    complete = [tried.score for tried in every if tried.is_complete]
    return Provenance(
        of=str(asked.space.key),
        dataset=spec.dataset,
        image_size=spec.image_size,
        split=spec.split,
        data_hash=spec.data_hash,
        victim=spec.victim.model_dump(mode="json"),
        victim_state=cell.victim_state,
        weights_hash=spec.weights_hash or "",
        defense=spec.defense,
        threat_model=spec.threat_model.model_dump(mode="json"),
        batch_size=spec.batch_size,
        batches=asked.batches,
        budget=spec.budget,
        objective=bench.objective,
        trials=len(every),
        pruned=sum(tried.pruned for tried in every),
        evaluations=bench.evaluations,
        seed=asked.seed,
        best=best.score,
        median=statistics.median(complete),
        published=every[0].score,
        space=asked.space.ranges,
        versions={package: version(package) for package in VERSIONS},
    )
