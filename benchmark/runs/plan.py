"""From a suite to trials: which cells there are, which cannot exist, and what each may spend."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

from gradinv.attacks.gradient_matching.evaluation import Engine, Kind
from gradinv.attacks.registry import create_attack, hyperparameters
from gradinv.attacks.victim import bn_layers
from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.datasets.batches import draw_batch, mean_image
from gradinv.benchmark.experiment import controls
from gradinv.benchmark.experiment.client import ImpossibleCellError
from gradinv.benchmark.experiment.spec import TrialSpec, result_versions, sources_of
from gradinv.benchmark.experiment.trial import possible_attack
from gradinv.benchmark.runs.engine_choice import EngineChoice
from gradinv.benchmark.runs.suite import Block, Suite, SuiteError
from gradinv.benchmark.victims.loading import LoadedVictim, VictimSpec, load_victim
from gradinv.benchmark.victims.training import default_recipe, victim_path
from gradinv.metrics.keys import Key, bracketed, parse_key
from gradinv.metrics.records.record import Cell
from safetensors.torch import save_file

Place = tuple[str, VictimSpec, str, int, str, str]


@dataclass(frozen=True)
class Trial:
    """One trial to run, the row it belongs to, how its victim normalises images, and its place in the suite.

    `packed` is how many trials of its pack may run side by side.
    """

    spec: TrialSpec
    cell: Cell
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skip_reason: str | None
    evaluations: int
    order: int
    packed: int = 1

    @cached_property
    def id(self) -> str:
        """The specification's id."""
        return self.spec.id


@dataclass(frozen=True)
class Plan:
    """All trials of a suite, with the data sets and victims that they need, by what names them in a specification.

    `kind` is the engine's that the suite was resolved to.
    """

    suite: Suite
    suite_hash: str
    trials: tuple[Trial, ...]
    datasets: dict[tuple[str, int], Dataset] = field(repr=False)
    victims: dict[str, LoadedVictim] = field(repr=False)
    untrained_yet: tuple[str, ...] = ()
    kind: Kind = "eager"

    def save_victims(self, directory: Path) -> None:
        """Write every victim's weights to `directory/victims/<weights hash>.safetensors`, where workers read them."""
        folder = directory / "victims"
        folder.mkdir(parents=True, exist_ok=True)
        for digest, victim in self.victims.items():
            path = folder / f"{digest}.safetensors"
            if not path.exists():
                state = {name: value.contiguous() for name, value in victim.module.state_dict().items()}
                partial = path.with_suffix(f".{uuid4().hex}")
                save_file(state, partial)
                partial.rename(path)


class Planner:
    """Builds a plan; data sets and victims are loaded once each."""

    def __init__(
        self,
        *,
        device: str,
        download: bool,
        may_train: bool,
        progress: bool,
        choice: EngineChoice | None = None,
    ) -> None:
        self.device, self.download, self.may_train, self.progress = device, download, may_train, progress
        self.choice = choice or EngineChoice()
        self.choice.check(device)
        self.kind: Kind = "eager"
        self.datasets: dict[tuple[str, int], Dataset] = {}
        self.victims: dict[str, LoadedVictim] = {}
        self.untrained_yet: list[str] = []
        self.places: dict[Place, int] = {}
        self._loaded: dict[tuple[VictimSpec, str, int], LoadedVictim] = {}

    def plan(self, suite: Suite, suite_hash: str, whole: Suite | None = None) -> Plan:
        """Every trial of the suite, once; raises DataError, VictimError or UnknownNameError where it cannot be run.

        `whole` is the suite that `suite` is a part of: it gives every row its place, whatever part is run first.
        """
        trials: dict[str, Trial] = {}
        self.places = _places(whole or suite)
        self.kind = self.choice.resolve(self.device, whole or suite)
        for block in suite.blocks:
            dataset = self._dataset(block)
            _check_batches(block, dataset)
            for trial in self._trials(block, dataset):
                trials.setdefault(trial.id, trial)
        return Plan(
            suite, suite_hash, tuple(trials.values()), self.datasets, self.victims, tuple(self.untrained_yet), self.kind
        )

    def _dataset(self, block: Block) -> Dataset:
        dataset = create_dataset(block.dataset, block.image_size, download=self.download)
        return self.datasets.setdefault((dataset.name, dataset.image_size), dataset)

    def _trials(self, block: Block, dataset: Dataset) -> Iterator[Trial]:
        data_hashes = _data_hashes(dataset)
        for victim_spec, defense, batch_size in product(block.victims, block.defenses, block.batch_sizes):
            victim = self._victim(victim_spec, dataset)
            for attack, control in _arms(block):
                arm = TrialSpec(
                    dataset=dataset.name,
                    image_size=dataset.image_size,
                    data_hash=data_hashes[control == "mean_image"],
                    victim=victim_spec,
                    weights_hash=victim.weights_hash,
                    attack=attack,
                    hyperparameters=hyperparameters(parse_key(attack)) if attack else {},
                    control=control,
                    defense=defense,
                    threat_model=block.threat_model,
                    batch_size=batch_size,
                    repetition=0,
                    budget=None if block.budget == "paper" else block.budget,
                    metrics=block.metrics,
                    device=self.device,
                    **self._engine(attack, victim),
                    sources=sources_of(attack, defense, block.metrics, dataset.name, victim_spec.model),
                    versions=result_versions(),
                )
                cell, reason = cell_of(arm, victim), _skip_reason(arm, dataset, victim)
                evaluations = _evaluations(arm)
                place = (_grid(block), victim_spec, defense, batch_size, attack, control)
                order = self.places.setdefault(place, len(self.places))
                for repetition in range(block.batches_of(batch_size)):
                    spec = arm.model_copy(update={"repetition": repetition})
                    yield Trial(spec, cell, victim.mean, victim.std, reason, evaluations, order, packed(arm))

    def _engine(self, attack: str, victim: LoadedVictim) -> dict[str, Any]:
        """The engine of an arm as fields of its specification; the defaults where nothing is evaluated."""
        engine = self.choice.engine(self.kind, create_attack(attack), victim.module) if attack else Engine()
        return {"engine": engine.kind, "together": engine.together, "precision": engine.precision}

    def _victim(self, spec: VictimSpec, dataset: Dataset) -> LoadedVictim:
        """The victim; in a dry run an untrained one stands for one that is not trained yet."""
        name = (spec, dataset.name, dataset.image_size)
        if name not in self._loaded:
            absent = not self.may_train and _needs_training(spec, dataset)
            asked = VictimSpec(model=spec.model, state="untrained", stem=spec.stem) if absent else spec
            victim = load_victim(asked, dataset, download=self.download, progress=self.progress)
            if absent:
                self.untrained_yet.append(f"{spec.key}, seed {spec.seed}, on {dataset.name} {dataset.image_size} px")
                victim = replace(victim, state=spec.state, weights_hash=self.untrained_yet[-1])
            self._loaded[name] = self.victims[victim.weights_hash] = victim
        return self._loaded[name]


def _grid(block: Block) -> str:
    """What two blocks must share for their rows to be the same."""
    return block.model_dump_json(include={"dataset", "image_size", "threat_model", "budget"})


def _places(suite: Suite) -> dict[Place, int]:
    """The place of every row of a suite, from the top of the file to its end."""
    places: dict[Place, int] = {}
    for block in suite.blocks:
        for victim, defense, batch_size in product(block.victims, block.defenses, block.batch_sizes):
            for attack, control in _arms(block):
                places.setdefault((_grid(block), victim, defense, batch_size, attack, control), len(places))
    return places


def _data_hashes(dataset: Dataset) -> tuple[str, str]:
    """Content hashes of what trials see: the evaluation images, and those with the mean image."""
    evaluation = dataset.split("evaluation").content_hash
    mean = mean_image(dataset).numpy().tobytes()
    return evaluation, hashlib.sha256(evaluation.encode() + mean).hexdigest()


def _needs_training(spec: VictimSpec, dataset: Dataset) -> bool:
    if spec.state not in ("early", "trained") or spec.weights is not None:
        return False
    return not victim_path(spec, dataset, default_recipe(spec, dataset)).is_file()


def _arms(block: Block) -> Iterator[tuple[str, str]]:
    """(attack, control) of every row: each attack, then its controls; last the controls that attack nothing."""
    for attack in block.attacks:
        yield attack, ""
        for control in block.controls:
            if control in controls.OF_AN_ATTACK:
                yield attack, control
    for control in block.controls:
        if control in controls.WITHOUT_ATTACK:
            yield "", control


def _check_batches(block: Block, dataset: Dataset) -> None:
    """Draw the largest batch of every repetition now, so that what cannot be filled is said before anything runs."""
    sizes = {size: block.batches_of(size) for size in block.batch_sizes}
    for repetition in range(max(sizes.values())):
        largest = max(size for size, batches in sizes.items() if repetition < batches)
        equal = block.threat_model.max_equal_labels
        draw_batch(dataset, repetition=repetition, batch_size=largest, max_equal_labels=equal)


def _skip_reason(spec: TrialSpec, dataset: Dataset, victim: LoadedVictim) -> str | None:
    if spec.control in controls.WITHOUT_ATTACK:
        return None
    layers = len(bn_layers(victim.module))
    try:
        possible_attack(spec, classes=len(dataset.classes), bn_layers=layers, state=victim.state)
    except ImpossibleCellError as error:
        return str(error)
    return None


def packed(spec: TrialSpec) -> int:
    """How many trials share a descent: as many as the engine takes candidates, one at least."""
    candidates = create_attack(spec.attack).candidates if spec.attack else None
    return max(1, spec.together // candidates) if candidates else 1


def _evaluations(spec: TrialSpec) -> int:
    """The most evaluations that the trial may spend; SuiteError where neither suite nor attack says."""
    if not spec.attack:
        return 0
    try:
        return create_attack(spec.attack).evaluations(spec.budget)
    except ValueError as error:
        raise SuiteError(f"attack {spec.attack}: {error}") from error


def cell_of(spec: TrialSpec, victim: LoadedVictim) -> Cell:
    """The leaderboard row that the trial belongs to."""
    key = Key(spec.control, spec.attack) if spec.control else parse_key(spec.attack)
    model = spec.threat_model
    return Cell(
        attack=key.name,
        preset=key.preset,
        parameters=bracketed(key.parameters),
        is_control=bool(spec.control),
        tuning="paper" if spec.budget is None else "suite",
        dataset=spec.dataset,
        image_size=spec.image_size,
        victim=spec.victim.key,
        victim_state=victim.state,
        victim_seed=spec.victim.seed,
        bn_mode=model.bn_mode,
        bn_statistics=model.bn_statistics,
        granted_numbers_per_pixel=granted_numbers_per_pixel(spec, victim),
        labels=model.labels,
        update=model.update,
        defense=spec.defense,
        adaptive=model.adaptive,
        batch_size=spec.batch_size,
        max_equal_labels=model.max_equal_labels,
        budget="paper" if spec.budget is None else str(spec.budget),
        precision=spec.precision,
    )


def granted_numbers_per_pixel(spec: TrialSpec, victim: LoadedVictim) -> float:
    """Batch-norm numbers about the private batch that are handed over, per unknown pixel value.

    Only exact statistics are about the private batch; running ones are public and count 0.
    """
    if spec.threat_model.bn_statistics != "exact":
        return 0.0
    numbers = sum(2 * layer.num_features for layer in bn_layers(victim.module))
    return numbers / (spec.batch_size * 3 * spec.image_size**2)


def hash_of(suite: Suite) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the resolved suite."""
    return hashlib.sha256(suite.model_dump_json().encode()).hexdigest()[:16]
