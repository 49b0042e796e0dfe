"""One trial, or a pack of them: private batch -> defended client update -> leak -> attack -> scores."""

import copy
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import nn

from gradinv.attacks.attack import Attack, Conditions
from gradinv.attacks.gradient_matching import Engine, GradientMatching
from gradinv.attacks.grants import reason_impossible
from gradinv.attacks.label_rules import LabelInferenceError
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import create_attack
from gradinv.attacks.transforms import UnansweredError
from gradinv.attacks.victim import NoClassifierError, Victim, bn_layers
from gradinv.benchmark.datasets import Batch, Dataset, draw_batch
from gradinv.benchmark.defenses import UndefendableError, create_defense
from gradinv.benchmark.experiment import controls
from gradinv.benchmark.experiment.client import ImpossibleCellError
from gradinv.benchmark.experiment.identity import Identity
from gradinv.benchmark.experiment.isolation import check_result, counted_evaluations, restored_switches
from gradinv.benchmark.experiment.outcome import Outcome, score
from gradinv.benchmark.experiment.received_update import autoencoder_of, received_update
from gradinv.benchmark.experiment.spec import TrialSpec
from gradinv.benchmark.victims import LoadedVictim

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

_families: WeakKeyDictionary[nn.Module, object] = WeakKeyDictionary()
"""A token for each network, by which its copies share programs: no attack can reach the network itself by it."""


def run_together(specs: Sequence[TrialSpec], dataset: Dataset, loaded: LoadedVictim) -> list[Outcome]:
    """Run trials of one pack side by side: they differ in repetition, defense and control alone.

    The time is shared out equally. What one raises ends all of them: ImpossibleCellError where the combination cannot
    exist (the trial is skipped), InconsistentExperimentError where the self-check fails.
    """
    first = specs[0]
    torch.set_num_threads(first.threads)  # rounding depends on it, so that the specification says how many
    batches = [_batch(spec, dataset) for spec in specs]
    if first.control in controls.WITHOUT_ATTACK:
        return [_without_attack(spec, dataset, batch) for spec, batch in zip(specs, batches, strict=True)]
    loaded = _defended(first, loaded)
    victim = _victim(first, loaded.module)
    attack = possible_attack(first, loaded.module, dataset, state=loaded.state)
    if isinstance(attack, GradientMatching):  # an attack with a loop of its own evaluates as it likes
        attack.engine = Engine(first.engine, first.together, first.precision)
    received = [
        received_update(spec, dataset, batch, loaded, victim) for spec, batch in zip(specs, batches, strict=True)
    ]
    # Timed from here: what the attack does with a leak, not what the experiment does to make and score it.
    start = time.perf_counter()
    victim.evaluations.restart()
    reconstructions = _reconstructions(attack, [update.leak for update in received], victim, specs)
    _synchronise(first.device)
    counted = counted_evaluations(victim, reconstructions, first.budget)
    seconds = (time.perf_counter() - start) / len(specs)
    memory = _peak_memory_mb(first.device)
    outcomes = [
        score(batch, reconstruction, spec.metrics, (loaded.mean, loaded.std), _identity(spec, dataset, batch))
        for spec, batch, reconstruction in zip(specs, batches, reconstructions, strict=True)
    ]
    return [
        outcome.model_copy(
            update={
                "engine": reconstruction.engine,
                "evaluations_counted": spent,
                "seconds": seconds,
                "peak_memory_mb": memory,
                "zero_gradient_share": update.zero_gradient_share,
                "update_cosine": update.difference.cosine,
                "update_error": update.difference.relative_error,
                "upload_bytes": update.upload_bytes,
                "notes": [*outcome.notes, *update.notes],
                "weights_source": loaded.source,
                "victim_accuracy": loaded.accuracy,
            }
        )
        for outcome, update, reconstruction, spent in zip(outcomes, received, reconstructions, counted, strict=True)
    ]


def _reconstructions(
    attack: Attack, leaks: Sequence[Leak], victim: Victim, specs: Sequence[TrialSpec]
) -> list[Reconstruction]:
    seeds, budget = [spec.seed("attack") for spec in specs], specs[0].budget
    try:
        with restored_switches():
            # Alone it is called as any attack is: a plug-in need not know that trials can run side by side.
            if len(leaks) == 1:
                reconstructions = [attack.reconstruct(leaks[0], victim, seed=seeds[0], budget=budget)]
            else:
                reconstructions = attack.reconstruct_together(leaks, victim, seeds=seeds, budget=budget)
    except (LabelInferenceError, NoClassifierError) as error:
        raise ImpossibleCellError(f"labels: {error}") from error
    except UnansweredError as error:
        raise ImpossibleCellError(f"adaptive: {error}") from error
    for leak, reconstruction in zip(leaks, reconstructions, strict=True):
        check_result(reconstruction, leak.shape, budget)
    return reconstructions


def _batch(spec: TrialSpec, dataset: Dataset) -> Batch:
    return draw_batch(
        dataset,
        repetition=spec.repetition,
        batch_size=spec.batch_size,
        max_equal_labels=spec.threat_model.max_equal_labels,
        equal_labels=spec.threat_model.equal_labels,
        role=spec.split,
    )


def _without_attack(spec: TrialSpec, dataset: Dataset, batch: Batch) -> Outcome:
    reconstruction = controls.without_attack(spec.control, dataset, batch, spec.repetition)
    pixels = ((0.0,), (1.0,))  # it is in [0, 1] already
    return score(batch, reconstruction, spec.metrics, pixels, _identity(spec, dataset, batch))


def _identity(spec: TrialSpec, dataset: Dataset, batch: Batch) -> Identity:
    return Identity.of(dataset, batch, spec.victim.model, spec.weights_hash)


def _defended(spec: TrialSpec, loaded: LoadedVictim) -> LoadedVictim:
    """The victim as its defense changes the network, on the trial's device, in the client's precision."""
    # The trials of a pack share this network: a defense that changes it is the same one in all of them (`spec.pack`).
    try:
        module = create_defense(spec.defense).on_model(loaded.module.to(spec.device))
    except UndefendableError as error:
        raise ImpossibleCellError(str(error)) from error
    return replace(loaded, module=_in_precision(module, spec.threat_model.dtype))


def _in_precision(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network itself where its numbers are of this type, else a copy of it: trials after this one need it too."""
    if all(parameter.dtype == dtype for parameter in module.parameters()):
        return module
    return copy.deepcopy(module).to(dtype)


def _victim(spec: TrialSpec, module: nn.Module) -> Victim:
    """A fresh copy from before the client's update: a train-mode update would change buffers."""
    if spec.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    family = _families.setdefault(module, object())
    return Victim(module, bn_mode=spec.threat_model.bn_mode, update=spec.threat_model.known_update, family=family)


def possible_attack(spec: TrialSpec, network: nn.Module, dataset: Dataset, *, state: str) -> Attack:
    """The attack of this trial, for the controls without a distance blind to the gradient.

    `network` is of the victim's architecture, with any weights. Raises ImpossibleCellError with the reason where the
    attack cannot be run in this cell.
    """
    attack = create_attack(spec.attack)
    conditions = Conditions(
        threat_model=spec.threat_model,
        batch_size=spec.batch_size,
        num_classes=len(dataset.classes),
        bn_layers=len(bn_layers(network)),
        trained=not state.startswith("untrained"),
        image_size=spec.image_size,
        budget=spec.budget,
        network=network,
        channels=dataset.channels,
        autoencoder=autoencoder_of(spec, dataset) is not None,
    )
    reason = reason_impossible(conditions) or attack.reason_impossible(conditions)
    if reason is not None:
        raise ImpossibleCellError(reason)
    if spec.control in controls.BLIND:
        return controls.blind_attack(spec.control, attack, spec.threat_model)
    return attack


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()  # kernels are only queued when the attack returns


def _peak_memory_mb(device: str) -> float | None:
    """On CUDA the largest allocation since the trial began; on the CPU the process's largest size so far, if known."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    if resource is None:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
