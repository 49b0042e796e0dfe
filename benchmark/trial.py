"""One cell, once: private batch -> defended client update -> leak -> attack -> scores -> record."""

import resource
import sys
import time
from dataclasses import replace

import torch

from attacks.attack import Attack, Setting
from attacks.leak import Leak
from attacks.registry import create_attack
from attacks.victim import Victim
from benchmark import controls
from benchmark.client import (
    ClientUpdate,
    ImpossibleCellError,
    client_update,
    observe,
    self_check,
    update_cosine,
    zero_gradient_share,
)
from benchmark.datasets.base import Dataset
from benchmark.datasets.batches import Batch, draw_batch
from benchmark.defenses import create_defense
from benchmark.normalisation import normalise
from benchmark.outcome import Outcome, score
from benchmark.spec import TrialSpec
from benchmark.victims import LoadedVictim


def run_trial(spec: TrialSpec, dataset: Dataset, loaded: LoadedVictim) -> Outcome:
    """Run one trial; the fields hold its state.

    Raises ImpossibleCellError where the combination cannot exist (the trial is skipped), InconsistentExperimentError
    where the self-check fails.
    """
    torch.set_num_threads(spec.threads)
    batch = draw_batch(
        dataset,
        repetition=spec.repetition,
        batch_size=spec.batch_size,
        max_equal_labels=spec.threat_model.max_equal_labels,
    )
    if spec.control in controls.WITHOUT_ATTACK:
        reconstruction = controls.without_attack(spec.control, dataset, batch, spec.repetition)
        return score(batch, reconstruction, spec.metrics, ((0.0,), (1.0,)))
    victim = _victim(spec, loaded)
    attack = possible_attack(spec, classes=len(dataset.classes), bn_layers=len(victim.bn_layers), state=loaded.state)
    leak, shares = _leak(spec, dataset, batch, loaded, victim)
    start = time.perf_counter()
    reconstruction = attack.reconstruct(leak, victim, seed=spec.seed("attack"), budget=spec.budget)
    _synchronise(spec.device)
    measured = {"seconds": time.perf_counter() - start, "peak_memory_mb": _peak_memory_mb(spec.device), **shares}
    outcome = score(batch, reconstruction, spec.metrics, (loaded.mean, loaded.std))
    return replace(outcome, fields={**outcome.fields, **measured})


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
