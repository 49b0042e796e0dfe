"""What an audit runs: its suite, and the largest budget for which that fits into the time."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from gradinv.attacks.registry import ATTACKS
from gradinv.attacks.victim import bn_layers
from gradinv.benchmark.audit.inputs import Inputs
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.estimates import estimated_seconds
from gradinv.benchmark.experiment import PlannedTrial
from gradinv.benchmark.runs import EngineChoice, Plan, Planner, Suite, hash_of, suite_of, summed
from gradinv.metrics.records import read_file, write_text
from gradinv.metrics.registry import RequestError

DEFENSES = ("gaussian_noise[sigma=0.01]", "pruning[ratio=0.9]", "dp_sgd[max_norm=1.0,sigma=0.1]")
SEARCHES = ("inverting_gradients", "gradinversion.no_bn", "idlg")
"""Attacks of every audit, whatever the network; those that solve for the images come to them where they can."""
OF_STATISTICS = "gradinversion.fidelity"
LEAST_BUDGET = 30
"""Evaluations below which no attack has begun, and below which an audit would say nothing."""
SHARE_OF_TRIALS, SHARE_OF_PRICES = 0.7, 0.2
"""Of the time; labels and the report take the rest."""
_SECONDS_A_TRIAL = 0.3
"""Beside the evaluations: drawing, scoring, ranking and writing."""
_PROBE = 1_000


@dataclass(frozen=True)
class AuditRequest:
    """What is asked for: inputs, update, defenses, attacks in place of the usual ones, minutes.

    `budget` is in evaluations, `rounds` are those of the trainings that price the defenses (0: none is priced), None:
    as many as fit. `settings` go over the suite's, by dotted names.
    """

    inputs: Inputs
    out: Path
    minutes: float
    update: str = "gradient"
    defenses: tuple[str, ...] = DEFENSES
    attacks: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    batches: int = 8
    budget: int | None = None
    rounds: int | None = None
    device: str = "cpu"
    jobs: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plugin(self) -> Path:
        """The file that makes the inputs known to other processes."""
        return self.out / "inputs.py"


def attacks_for(network: nn.Module) -> tuple[str, ...]:
    """The strongest attacks: general searches, that of the statistics where there are some, all that solve."""
    solving = [name for name in ATTACKS.names() if ATTACKS.declaration(name).get("exact")]
    return (*SEARCHES, *([OF_STATISTICS] if bn_layers(network) else []), *solving, "cocktail_party")


def suite_with(request: AuditRequest, attacks: tuple[str, ...], budget: int) -> Suite:
    """The audit's suite: all without a defense and with each, by who knows it too where that is of use."""
    threat: dict[str, Any] = {"labels": "known", "bn_statistics": "running", "update": request.update}
    known = [defense for defense in request.defenses if create_defense(defense).known()]
    content = {
        "name": "audit",
        "description": "Written by `gradinv audit`.",
        "dataset": request.inputs.data_name,
        "image_size": request.inputs.image_size,
        "victims": [request.inputs.victim.model_dump(exclude_none=True)],
        "attacks": list(attacks),
        "controls": "all",
        "batch_sizes": list(request.batch_sizes),
        "batches": request.batches,
        "budget": budget,
        "metrics": ["psnr", "ssim"],
        "threat_model": threat,
        "grids": [
            {"defenses": list(dict.fromkeys(["none", *request.defenses]))},
            *([{"defenses": known, "threat_model": {**threat, "adaptive": True}}] if known else []),
        ],
    }
    return suite_of(content, "audit", "audit", request.settings)


class Design(NamedTuple):
    """What is run, and the attacks that are not, each with its reason."""

    plan: Plan
    impossible: dict[str, str]


def designed(request: AuditRequest, network: nn.Module, seconds: float) -> Design:
    """The plan of the audit within so many seconds; its budget is kept beside it.

    An audit that is gone on with has the budget that it began with. RequestError where the time is too short, or where
    no attack is possible.
    """
    probe = _plan(request, suite_with(request, request.attacks or attacks_for(network), _PROBE))
    impossible = {trial.spec.attack: trial.skip_reason for trial in _undefended(probe) if trial.skip_reason}
    attacks = tuple(dict.fromkeys(trial.spec.attack for trial in _undefended(probe) if not trial.skip_reason))
    if not attacks:
        reasons = "; ".join(f"{attack}: {reason}" for attack, reason in impossible.items())
        raise RequestError(f"no attack is possible here ({reasons}); choose others with --attack")
    # At a budget of one, so that what tells two audits apart does not depend on how fast the machine was.
    asked, kept = suite_with(request, attacks, 1).model_dump_json(), request.out / "design.json"
    before: dict[str, Any] = json.loads(read_file(kept)) if kept.is_file() else {"asked": asked}
    if before["asked"] != asked:
        raise RequestError(f"--out {request.out} holds another audit; give another folder")
    budget = request.budget or int(before.get("budget", 0)) or _fitting(request, probe, seconds)
    request.out.mkdir(parents=True, exist_ok=True)
    write_text(kept, json.dumps({"asked": asked, "budget": budget}, indent=1))
    return Design(_plan(request, suite_with(request, attacks, budget)), impossible)


def _undefended(plan: Plan) -> list[PlannedTrial]:
    """The trials of the attacks themselves without a defense."""
    specs = ((trial, trial.spec) for trial in plan.trials)
    return [trial for trial, spec in specs if spec.attack and not spec.control and spec.defense == "none"]


def _fitting(request: AuditRequest, probe: Plan, seconds: float) -> int:
    """The budget at which the possible trials of a plan take so many seconds."""
    possible = [trial for trial in probe.trials if not trial.skip_reason]
    evaluating, _ = summed(estimated_seconds(probe, possible, request.device))
    # Only evaluating grows with the budget; what a trial takes beside it comes off first.
    left = seconds * request.jobs - _SECONDS_A_TRIAL * len(possible)
    budget = int(_PROBE * left / evaluating) if evaluating else _PROBE
    if budget < LEAST_BUDGET:
        needed = (_SECONDS_A_TRIAL * len(possible) + LEAST_BUDGET * evaluating / _PROBE) / request.jobs
        raise RequestError(
            f"--minutes {request.minutes:g}: {len(possible)} trials get {max(budget, 0)} evaluations each, and below "
            f"{LEAST_BUDGET} nothing is said; give --minutes {math.ceil(needed / SHARE_OF_TRIALS / 60)}, or fewer "
            "--defense, --attack or --batches"
        )
    return _rounded(budget)


def _rounded(number: int) -> int:
    """Two digits, cut off.

    >>> _rounded(3456), _rounded(34)
    (3400, 34)
    """
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _plan(request: AuditRequest, suite: Suite) -> Plan:
    return Planner(device=request.device, download=False, choice=EngineChoice()).plan(suite, hash_of(suite))
