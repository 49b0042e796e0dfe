"""The victims that a plan needs: loaded or trained before any trial, their weights kept in the run directory."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from torch import nn
from tqdm import tqdm

from gradinv.benchmark.datasets import Dataset
from gradinv.benchmark.runs.plan import Plan, PlannedVictim
from gradinv.benchmark.victims import (
    VictimSpec,
    load_victim,
    needs_download,
    needs_training,
    train_victim,
    weights_hash,
)
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.records import RunDirectory, write_tensors


class Weights(NamedTuple):
    """A victim's network with its weights, and where these come from, in words."""

    module: nn.Module
    source: str
    accuracy: float | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What stands beside the weights in their file: the source, and the accuracy where it is known."""
        known = {} if self.accuracy is None else {"accuracy": repr(self.accuracy)}
        return {"source": self.source, **known}


def prepare_plan(plan: Plan, run: RunDirectory, *, download: bool = False, progress: bool = True) -> Plan:
    """Load or train every victim and keep its weights where workers read them; returns the plan with every trial's id.

    Raises VictimError or DataError where a victim cannot be had, and then nothing is written.
    """
    _train_rounds(plan, progress=progress)
    victims: dict[PlannedVictim, Weights] = {}
    shown = progress and sys.stderr.isatty()
    # The bar waits a second: loading takes less, training has a bar of its own below this one.
    for victim in tqdm(plan.networks, desc="victims", unit="victim", disable=not shown, leave=False, delay=1):
        victims[victim] = _weights(plan, victim, download=download, progress=progress, said=True)
    # All are here before the first is written: a request that fails at its last victim leaves no half run directory.
    hashes = {victim: weights_hash(weights.module) for victim, weights in victims.items()}
    for victim, weights in victims.items():
        path = run.weights(hashes[victim])
        if not path.exists():  # another shard's process, or an earlier run, may have put it there
            write_tensors(path, weights.module.state_dict(), weights.metadata)
    return _with_weights(plan, hashes)


def _train_rounds(plan: Plan, *, progress: bool) -> None:
    """Train victims of which several rounds are asked for, once for all of them."""
    stages: dict[tuple[VictimSpec, str, ImageSize], list[VictimSpec]] = {}
    for victim in plan.networks:
        if victim.spec.round is not None:
            training = victim.spec.model_copy(update={"round": None})
            stages.setdefault((training, victim.dataset, victim.image_size), []).append(victim.spec)
    for (training, name, size), specs in stages.items():
        dataset = plan.datasets[name, size]
        if any(needs_training(spec, dataset) for spec in specs):
            rounds = [spec.round for spec in specs if spec.round is not None]
            train_victim(training, dataset, rounds=rounds, progress=progress)


def without_training(plan: Plan, *, or_download: bool = False) -> Plan:
    """The plan with the ids that are known without training; victims that must be trained are named in it.

    So are, with `or_download`, those whose weights must be downloaded. Writes and downloads nothing. Raises VictimError
    or DataError where a victim can be neither loaded nor trained.
    """

    def those(need: Callable[[VictimSpec, Dataset], bool]) -> tuple[PlannedVictim, ...]:
        return tuple(v for v in plan.networks if need(v.spec, plan.datasets[v.dataset, v.image_size]))

    untrained, undownloaded = those(needs_training), those(needs_download) if or_download else ()
    hashes = {
        victim: weights_hash(_weights(plan, victim, download=False, progress=False).module)
        for victim in plan.networks
        if victim not in (*untrained, *undownloaded)
    }
    return replace(_with_weights(plan, hashes), untrained_yet=untrained, undownloaded_yet=undownloaded)


def _weights(plan: Plan, victim: PlannedVictim, *, download: bool, progress: bool, said: bool = False) -> Weights:
    """The weights of a victim; with `said`, where those from elsewhere come from and how good they are."""
    if victim.spec.state == "untrained":
        return Weights(plan.networks[victim].module, "")  # what was planned with is the victim itself
    dataset = plan.datasets[victim.dataset, victim.image_size]
    loaded = load_victim(victim.spec, dataset, download=download, progress=progress, judged=said)
    if said and loaded.source:
        share = "" if loaded.accuracy is None else f"; {loaded.accuracy:.1%} of its tuning images right"
        print(one_line(f"victim {victim}: {loaded.source}{share}"), file=sys.stderr)
    return Weights(loaded.module, loaded.source, loaded.accuracy)


def _with_weights(plan: Plan, hashes: Mapping[PlannedVictim, str]) -> Plan:
    trials = tuple(trial.changed(weights_hash=hashes.get(PlannedVictim.of(trial.spec))) for trial in plan.trials)
    return replace(plan, trials=trials)
