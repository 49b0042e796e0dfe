"""What is said before a run: how long it will take, and whether its evaluations fit into memory."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching import Given, GradientMatching, Objective, SquaredL2
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.estimates.memory import available_bytes, evaluation_bytes, memory_warning
from gradinv.benchmark.experiment import PlannedTrial, TrialSpec
from gradinv.benchmark.runs import SMALL, Plan, PlannedVictim, parameters_of
from gradinv.metrics.image_size import sides

FEW_PIXELS = 2**18
"""Pixels in one call that cannot fill any machine behind a small network: not worth the estimate."""


def estimated_seconds(plan: Plan, trials: Sequence[PlannedTrial], device: str) -> list[float]:
    """Estimated seconds of each trial, from an evaluation measured for each victim, batch size, update and engine.

    NaN where a victim cannot be evaluated: its own trials will say why.
    """

    def measured(spec: TrialSpec, together: int) -> float:
        torch.set_num_threads(spec.threads)  # as many as the trial will have
        return seconds_per_evaluation(plan, spec, device, together)

    return estimates_of(trials, measured)


def estimates_of(trials: Sequence[PlannedTrial], seconds: Callable[[TrialSpec, int], float]) -> list[float]:
    """The time of each trial, from the `seconds` of one evaluation among so many, asked for once for trials alike."""
    unit: dict[tuple[PlannedVictim, int, int, str], float] = {}
    estimates = []
    for trial in trials:
        spec = trial.spec
        # What an attacker simulates of many local steps takes as many times as long.
        kind = (PlannedVictim.of(spec), spec.batch_size, spec.together, spec.threat_model.known_update)
        if kind not in unit and trial.evaluations:
            unit[kind] = _known(seconds, spec)
        # What evaluates nothing takes no time, whatever is known of its victim.
        spends = trial.evaluations and not trial.skip_reason
        estimates.append(trial.evaluations * unit[kind] if spends else 0.0)
    return estimates


def _known(seconds: Callable[[TrialSpec, int], float], spec: TrialSpec) -> float:
    """In turn for a victim that cannot be evaluated together, as its trials will be; NaN for one that cannot be."""
    for together in dict.fromkeys((spec.together, 1)):
        try:
            return seconds(spec, together)
        except Exception:  # noqa: BLE001 - a network raises anything; an estimate is no reason to end a suite
            continue
    return math.nan


def seconds_per_evaluation(plan: Plan, spec: TrialSpec, device: str, together: int) -> float:
    """Measured seconds of one candidate's squared-l2 evaluation among so many; the best of two after a warm-up."""
    victim = Victim(plan.network_of(spec).to(device), update=spec.threat_model.known_update)
    objective, classes = Objective(victim, SquaredL2(), []), len(plan.dataset_of(spec).classes)
    shape = (together, spec.batch_size, *plan.dataset_of(spec).image_shape)
    # Any values do: the time depends on shapes alone, which is why an untrained network stands for a trained one.
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    labels = (torch.arange(spec.batch_size) % classes).to(device)
    target, state = [parameter.detach() for parameter in victim.parameters], victim.state
    given: Given = {
        "labels": [labels],
        "target": target,
        "granted": [],
        "observed": [],
        "factors": [],
        "autoencoder": {},
        "state": {},
        "later": [],
    }

    def evaluated(candidate: Tensor) -> Tensor:
        return objective.functional([candidate], given, state)[1][0]

    times = []
    for _ in range(3):
        start = time.perf_counter()
        if together > 1:
            with torch.no_grad():
                values = torch.func.vmap(evaluated)(images)
        else:
            values = objective.evaluate([images[0]], given)[0]
        values.sum().item()  # a GPU has finished only when its result is asked for
        times.append(time.perf_counter() - start)
    # The first is a warm-up: it allocates memory and chooses kernels.
    return min(times[1:]) / together


def memory_warnings(plan: Plan, trials: Iterable[PlannedTrial], device: str, jobs: int) -> list[str]:
    """One line for every victim and batch size whose evaluation does not fit `jobs` times into the free memory."""
    # Jobs are processes that evaluate at the same time, so that their needs add up.
    available, lines = available_bytes(device), {}
    for trial in trials:
        spec = trial.spec
        granted = spec.threat_model
        kind = (PlannedVictim.of(spec), spec.batch_size, spec.together, granted.bn_mode, granted.known_update)
        if trial.skip_reason or not spec.attack or kind in lines:
            continue
        attack = create_attack(spec.attack)
        # What an attack with a loop of its own needs nobody knows: it must not stand for the others of its kind.
        if not isinstance(attack, GradientMatching):
            continue
        needed = _bytes_needed(plan, spec, attack)
        warning = needed and memory_warning(jobs * needed, available)
        jobs_named = f" in {jobs} jobs" if jobs > 1 else ""
        lines[kind] = f"{spec.victim.key}, B={spec.batch_size}{jobs_named}: {warning}" if warning else ""
    return [line for line in lines.values() if line]


def _bytes_needed(plan: Plan, spec: TrialSpec, attack: GradientMatching) -> int | None:
    """Bytes of one evaluation; None where it is small for certain, or unknown."""
    module = plan.network_of(spec)
    pixels = spec.together * spec.batch_size * math.prod(sides(spec.image_size))
    if parameters_of(module) <= SMALL and pixels <= FEW_PIXELS:
        return None
    try:
        return evaluation_bytes(
            module,
            spec.batch_size,
            spec.image_size,
            len(plan.dataset_of(spec).classes),
            bn_mode=spec.threat_model.bn_mode,
            update=spec.threat_model.known_update,
            needs_bn_statistics=any(prior.needs_bn_statistics for prior in attack.priors),
            together=spec.together,
            channels=plan.dataset_of(spec).channels,
        )
    except Exception:  # noqa: BLE001 - shapes that depend on values, no meta kernel, a batch that train mode refuses
        return None
