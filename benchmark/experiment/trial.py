"""One trial, or a pack of them: private batch -> defended client update -> leak -> attack -> scores -> record."""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from gradinv.attacks.attack import Attack, Setting
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.datasets.batches import Batch, draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment import controls
from gradinv.benchmark.experiment.client import (
    ClientUpdate,
    ImpossibleCellError,
    client_update,
    observe,
    self_check,
    update_cosine,
    zero_gradient_share,
)
from gradinv.benchmark.experiment.outcome import Outcome, score
from gradinv.benchmark.experiment.spec import TrialSpec
from gradinv.benchmark.victims.loading import LoadedVictim
from gradinv.benchmark.victims.normalisation import normalise


def run_together(specs: Sequence[TrialSpec], dataset: Dataset, loaded: LoadedVictim) -> list[Outcome]:
    """Run trials of one pack side by side: they differ in repetition, defense and control alone.

    The fields hold the state of each; the time is shared out equally. What one raises ends all of them:
    ImpossibleCellError where the combination cannot exist (the trial is skipped), InconsistentExperimentError where the
    self-check fails.
    """
    first = specs[0]
    torch.set_num_threads(first.threads)
    batches = [_batch(spec, dataset) for spec in specs]
    if first.control in controls.WITHOUT_ATTACK:
        return [_without_attack(spec, dataset, batch) for spec, batch in zip(specs, batches, strict=True)]
    victim = _victim(first, loaded)
    attack = possible_attack(first, classes=len(dataset.classes), bn_layers=len(victim.bn_layers), state=loaded.state)
    attack.engine = Engine(first.engine, first.together, first.precision)
    leaks = [_leak(spec, dataset, batch, loaded, victim) for spec, batch in zip(specs, batches, strict=True)]
    start = time.perf_counter()
    found = _reconstructions(attack, [leak for leak, _ in leaks], victim, specs)
    _synchronise(first.device)
    measured = {
        "seconds": (time.perf_counter() - start) / len(specs),
        "peak_memory_mb": _peak_memory_mb(first.device),
    }
    outcomes = []
    for spec, batch, (_, shares), reconstruction in zip(specs, batches, leaks, found, strict=True):
        outcome = score(batch, reconstruction, spec.metrics, (loaded.mean, loaded.std))
        own = {"engine": reconstruction.engine, **measured, **shares}
        outcomes.append(replace(outcome, fields={**outcome.fields, **own}))
    return outcomes


def _reconstructions(
    attack: Attack, leaks: Sequence[Leak], victim: Victim, specs: Sequence[TrialSpec]
) -> list[Reconstruction]:
    seeds, budget = [spec.seed("attack") for spec in specs], specs[0].budget
    if len(leaks) == 1:
        return [attack.reconstruct(leaks[0], victim, seed=seeds[0], budget=budget)]
    return attack.reconstruct_together(leaks, victim, seeds=seeds, budget=budget)


def _batch(spec: TrialSpec, dataset: Dataset) -> Batch:
    return draw_batch(
        dataset,
        repetition=spec.repetition,
        batch_size=spec.batch_size,
        max_equal_labels=spec.threat_model.max_equal_labels,
    )


def _without_attack(spec: TrialSpec, dataset: Dataset, batch: Batch) -> Outcome:
    reconstruction = controls.without_attack(spec.control, dataset, batch, spec.repetition)
    return score(batch, reconstruction, spec.metrics, ((0.0,), (1.0,)))


def _victim(spec: TrialSpec, loaded: LoadedVictim) -> Victim:
    """A fresh copy from before the client's update: a train-mode update would change buffers."""
    if spec.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return Victim(loaded.module.to(spec.device), bn_mode=spec.threat_model.bn_mode)


def possible_attack(spec: TrialSpec, *, classes: int, bn_layers: int, state: str) -> Attack:
    """The attack of this trial, for the control `prior_only` blind to the gradient.

    Raises ImpossibleCellError with the reason where the attack cannot be run in this cell.
    """
    attack = create_attack(spec.attack)
    setting = Setting(
        threat_model=spec.threat_model,
        batch_size=spec.batch_size,
        num_classes=classes,
        bn_layers=bn_layers,
        trained=not state.startswith("untrained"),
        image_size=spec.image_size,
        budget=spec.budget,
    )
    reason = attack.reason_to_skip(setting)
    if reason is not None:
        raise ImpossibleCellError(reason)
    return controls.prior_only(attack) if spec.control == "prior_only" else attack


def _leak(
    spec: TrialSpec, dataset: Dataset, batch: Batch, loaded: LoadedVictim, victim: Victim
) -> tuple[Leak, dict[str, float]]:
    """What the attacker sees: for a control that replaces the gradient, all but it is the private batch's."""
    update = _update(spec, batch, loaded, victim)
    leak = observe(
        update, victim, batch, spec.threat_model, num_classes=len(dataset.classes), mean=loaded.mean, std=loaded.std
    )
    if spec.control == "other_gradient":
        other = controls.other_batch(dataset, batch, spec.repetition, spec.control)
        leak = replace(leak, gradients=_update(spec, other, loaded, victim).sent)
    elif spec.control == "noise_gradient":
        leak = controls.noise_gradient(leak, spec.seed("noise_gradient"))
    return leak, {"zero_gradient_share": zero_gradient_share(update), "update_cosine": update_cosine(update)}


def _update(spec: TrialSpec, batch: Batch, loaded: LoadedVictim, victim: Victim) -> ClientUpdate:
    """The defended update of a batch, checked against what the attacker's victim would compute."""
    update = client_update(
        loaded.module,
        normalise(batch.images.to(spec.device), loaded.mean, loaded.std),
        batch.labels.to(spec.device),
        bn_mode=spec.threat_model.bn_mode,
        defense=create_defense(spec.defense),
        seed=spec.seed("defense"),
    )
    self_check(update, victim)
    return update


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak_memory_mb(device: str) -> float:
    """On CUDA the largest allocation since the trial began; on the CPU the process's largest size so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
