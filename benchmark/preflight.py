"""What is said before a run: whether an evaluation of each kind fits into memory."""

from collections.abc import Iterable

from attacks.matching import GradientMatching
from attacks.registry import create_attack
from benchmark.engines import SMALL, parameters_of
from benchmark.memory import available_bytes, evaluation_bytes, memory_warning
from benchmark.plan import Plan, Trial
from benchmark.spec import TrialSpec

FEW_PIXELS = 2**18
"""Pixels in one call that cannot fill any machine behind a small network: not worth the estimate."""


def memory_warnings(plan: Plan, trials: Iterable[Trial], device: str, jobs: int) -> list[str]:
    """One line for every victim and batch size whose evaluation does not fit `jobs` times into the free memory."""
    available, lines = available_bytes(device), {}
    for trial in trials:
        spec = trial.spec
        kind = (spec.weights_hash, spec.image_size, spec.batch_size, spec.together, spec.threat_model.bn_mode)
        if trial.skip_reason or not spec.attack or kind in lines:
            continue
        needed = _needed(plan, spec)
        warning = needed and memory_warning(jobs * needed, available)
        jobs_named = f" in {jobs} jobs" if jobs > 1 else ""
        lines[kind] = f"{spec.victim.key}, B={spec.batch_size}{jobs_named}: {warning}" if warning else ""
    return [line for line in lines.values() if line]


def _needed(plan: Plan, spec: TrialSpec) -> int | None:
    """Bytes of one evaluation; None where it is small for certain, not an evaluation of ours, or cannot be told."""
    attack, module = create_attack(spec.attack), plan.victims[spec.weights_hash].module
    pixels = spec.together * spec.batch_size * spec.image_size**2
    if not isinstance(attack, GradientMatching) or (parameters_of(module) <= SMALL and pixels <= FEW_PIXELS):
        return None
    try:
        return evaluation_bytes(
            module,
            spec.batch_size,
            spec.image_size,
            len(plan.datasets[spec.dataset, spec.image_size].classes),
            bn_mode=spec.threat_model.bn_mode,
            needs_bn_statistics=any(prior.needs_bn_statistics for prior in attack.priors),
            together=spec.together,
        )
    except (RuntimeError, ValueError):  # shapes that depend on values, or a batch that train mode cannot take
        return None
