"""From a suite to trials: which cells there are, which cannot exist, and what each may spend. Nothing is trained."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from torch import nn

from gradinv.attacks.gradient_matching import Engine, Kind
from gradinv.attacks.registry import create_attack, hyperparameters
from gradinv.attacks.victim import bn_layers
from gradinv.benchmark.datasets import Dataset, create_dataset, draw_batch
from gradinv.benchmark.experiment import (
    ImpossibleCellError,
    PlannedTrial,
    TrialSpec,
    cell_of,
    controls,
    data_hash,
    possible_attack,
    result_versions,
    sources_of,
)
from gradinv.benchmark.runs.block import Block, SuiteError
from gradinv.benchmark.runs.engine_choice import EngineChoice
from gradinv.benchmark.runs.suite import Suite
from gradinv.benchmark.victims import VictimSpec, load_victim, untrained_network
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.keys import parse_key

RowPlace = tuple[str, VictimSpec, str, int, str, str]
"""What tells the rows of a suite apart: grid, victim, defense, batch size, attack and control."""


class PlannedVictim(NamedTuple):
    """A victim that trials need, for the classes and the image size of a data set; its weights may not exist yet."""

    spec: VictimSpec
    dataset: str
    image_size: ImageSize

    @classmethod
    def of(cls, trial: TrialSpec) -> "PlannedVictim":
        """The victim of a trial."""
        return cls(trial.victim, trial.dataset, trial.image_size)

    def __str__(self) -> str:
        return f"{self.spec.key}, seed {self.spec.seed}, on {self.dataset} {self.image_size} px"


@dataclass(frozen=True)
class Network:
    """What planning must know of a victim: a network of its architecture, and the state that its rows will name.

    The weights are those of a victim that needs no training, and otherwise random.
    """

    module: nn.Module = field(repr=False)
    state: str


@dataclass(frozen=True)
class Plan:
    """All trials of a suite, with the data sets and the victims that they need.

    `kind` is the engine's that the suite was resolved to. Trials whose victim is not loaded or trained yet have no
    weights hash (`prepare.py` finds it); a victim that only training would give stands in `untrained_yet`, and one that
    only a download would in `undownloaded_yet`.
    """

    suite: Suite
    suite_hash: str
    trials: tuple[PlannedTrial, ...]
    datasets: dict[tuple[str, ImageSize], Dataset] = field(repr=False)
    networks: dict[PlannedVictim, Network] = field(repr=False)
    kind: Kind = "eager"
    untrained_yet: tuple[PlannedVictim, ...] = ()
    undownloaded_yet: tuple[PlannedVictim, ...] = ()

    def dataset_of(self, trial: TrialSpec) -> Dataset:
        """The data set of one of the plan's trials."""
        return self.datasets[trial.dataset, trial.image_size]

    def network_of(self, trial: TrialSpec) -> nn.Module:
        """A network of the architecture that the trial attacks; never its trained weights."""
        return self.networks[PlannedVictim.of(trial)].module

    @property
    def device(self) -> str:
        """The device that all trials run on."""
        return self.trials[0].spec.device


class Planner:
    """Builds plans; data sets are opened and architectures built once each."""

    def __init__(self, *, device: str, download: bool, choice: EngineChoice | None = None) -> None:
        self.device, self.download = device, download
        self.choice = choice or EngineChoice()
        self.choice.check(device)
        self.kind: Kind = "eager"
        self.datasets: dict[tuple[str, ImageSize], Dataset] = {}
        self.networks: dict[PlannedVictim, Network] = {}
        self.places: dict[RowPlace, int] = {}

    def plan(self, suite: Suite, suite_hash: str, uncut: Suite | None = None) -> Plan:
        """Every trial of the suite, once; raises DataError, VictimError or UnknownNameError where it cannot be run.

        `uncut` is the suite that `suite` is a part of: it gives every row its place, whatever part is run first.
        """
        # Before the trials, so that a part of the suite gets the places of the suite as a whole: records of different
        # parts meet in one board, and its rows must stand in the order of the file.
        self.places = _places(uncut or suite)
        self.kind = self.choice.resolve(self.device, uncut or suite)
        trials: dict[str, PlannedTrial] = {}
        for block in suite.blocks:
            dataset = self._dataset(block)
            _check_batches(block, dataset)
            for trial in self._trials(suite.name, suite_hash, block, dataset):
                # By the text, because there is no id yet; blocks that overlap specify their common trials alike.
                trials.setdefault(trial.spec.model_dump_json(), trial)
        return Plan(suite, suite_hash, tuple(trials.values()), self.datasets, self.networks, self.kind)

    def _dataset(self, block: Block) -> Dataset:
        # By what the data set calls itself: `photos` without an image size and `photos` at 32 px are the same one.
        dataset = create_dataset(block.dataset, block.image_size, download=self.download)
        return self.datasets.setdefault((dataset.name, dataset.image_size), dataset)

    def _trials(self, suite: str, suite_hash: str, block: Block, dataset: Dataset) -> Iterator[PlannedTrial]:
        grid = _grid(block)
        for arm in self._arms(block, dataset):
            network = self.networks[PlannedVictim.of(arm)]
            bn_channels = sum(layer.num_features for layer in bn_layers(network.module))
            place = (grid, arm.victim, arm.defense, arm.batch_size, arm.attack, arm.control)
            planned = PlannedTrial(
                spec=arm,
                cell=cell_of(arm, victim_state=network.state, bn_channels=bn_channels, channels=dataset.channels),
                suite=suite,
                suite_hash=suite_hash,
                order=self.places.setdefault(place, len(self.places)),
                skip_reason=_skip_reason(arm, dataset, network),
                evaluations=_evaluations(arm),
                packed=packed(arm),
            )
            for repetition in range(block.batches_of(arm.batch_size)):
                yield planned.changed(repetition=repetition)

    def _arms(self, block: Block, dataset: Dataset) -> Iterator[TrialSpec]:
        """The first repetition of every row of a block."""
        for victim_spec, defense, batch_size in product(block.victims, block.defenses, block.batch_sizes):
            network = self._network(PlannedVictim(victim_spec, dataset.name, dataset.image_size), dataset)
            for attack, control in _attacks_and_controls(block):
                yield TrialSpec(
                    dataset=dataset.name,
                    image_size=dataset.image_size,
                    # Of what this trial sees: images that it does not see leave its id alone.
                    data_hash=data_hash(dataset, attack, control, block.threat_model, block.split, defense),
                    victim=victim_spec,
                    weights_hash=None,
                    attack=attack,
                    hyperparameters=hyperparameters(parse_key(attack)) if attack else {},
                    control=control,
                    defense=defense,
                    threat_model=block.threat_model,
                    batch_size=batch_size,
                    repetition=0,
                    split=block.split,
                    budget=None if block.budget == "paper" else block.budget,
                    metrics=block.metrics,
                    device=self.device,
                    **self._engine(attack, network.module),
                    sources=sources_of(attack, defense, block.metrics, dataset.name, victim_spec.model),
                    versions=result_versions(),
                )

    def _engine(self, attack: str, module: nn.Module) -> dict[str, Any]:
        """The engine of an arm as fields of its specification; the defaults where nothing is evaluated."""
        engine = self.choice.engine(self.kind, create_attack(attack), module) if attack else Engine()
        return {"engine": engine.kind, "together": engine.together, "precision": engine.precision}

    def _network(self, victim: PlannedVictim, dataset: Dataset) -> Network:
        """The victim's architecture; an untrained victim is made as a whole, because its state is measured."""
        if victim not in self.networks:
            if victim.spec.state == "untrained":
                loaded = load_victim(victim.spec, dataset)
                self.networks[victim] = Network(loaded.module, loaded.state)
            else:
                self.networks[victim] = Network(untrained_network(victim.spec, dataset), victim.spec.state)
        return self.networks[victim]


def _grid(block: Block) -> str:
    """What two blocks must share for their rows to be the same."""
    # Not the metrics: they are further columns of a row, not another row.
    return block.model_dump_json(include={"dataset", "image_size", "threat_model", "budget", "split"})


def _places(suite: Suite) -> dict[RowPlace, int]:
    """The place of every row of a suite, from the top of the file to its end."""
    # The first block that has a row decides, as it decides whose trials are run.
    places: dict[RowPlace, int] = {}
    for block in suite.blocks:
        for victim, defense, batch_size in product(block.victims, block.defenses, block.batch_sizes):
            for attack, control in _attacks_and_controls(block):
                places.setdefault((_grid(block), victim, defense, batch_size, attack, control), len(places))
    return places


def _attacks_and_controls(block: Block) -> Iterator[tuple[str, str]]:
    """(attack, control) of every row: each attack, then its controls; last the controls that attack nothing."""
    for attack in block.attacks:
        yield attack, ""
        for control in block.controls:
            if control in controls.OF_AN_ATTACK and controls.is_due(control, attack, block.threat_model):
                yield attack, control
    for control in block.controls:
        if control in controls.WITHOUT_ATTACK:
            yield "", control


def _check_batches(block: Block, dataset: Dataset) -> None:
    """Draw the largest batch of every repetition now, so that what cannot be filled is said before anything runs."""
    # The largest is enough: smaller batches are its prefixes.
    sizes = {size: block.batches_of(size) for size in block.batch_sizes}
    for repetition in range(max(sizes.values())):
        largest = max(size for size, batches in sizes.items() if repetition < batches)
        draw_batch(
            dataset,
            repetition=repetition,
            batch_size=largest,
            max_equal_labels=block.threat_model.max_equal_labels,
            equal_labels=block.threat_model.equal_labels,
            role=block.split,
        )


def _skip_reason(spec: TrialSpec, dataset: Dataset, network: Network) -> str | None:
    if spec.control in controls.WITHOUT_ATTACK:
        return None  # whether a class has another image is known only with the batch, when the trial runs
    try:
        possible_attack(spec, network.module, dataset, state=network.state)
    except ImpossibleCellError as error:
        return str(error)
    return None


def packed(spec: TrialSpec) -> int:
    """How many trials share a descent: as many as the engine takes candidates, one at least."""
    # An attack whose candidates are more than fit into a call still runs, one trial at a time.
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


def hash_of(suite: Suite) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the resolved suite."""
    return hashlib.sha256(suite.model_dump_json().encode()).hexdigest()[:16]
