"""Whether every engine computes the same: gradients at many points, and the quality of whole reconstructions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.attack import GradientMatching
from gradinv.attacks.gradient_matching.evaluation import Engine, InChunks, InTurn
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.metrics.statistics.intervals import interval
from tests.benchmarks.side_by_side.problems import Case
from tests.benchmarks.side_by_side.trials import Trials, make_trials, matching_attack, random_points

POINTS = 24
BATCHES = 16
ATTACKS = ("inverting_gradients", "gradinversion.no_bn[alpha_noise=0.0]", "dlg")


def mathematics_table(base: Case, models: Sequence[str], engines: Sequence[Engine], budget: int) -> str:
    """Markdown: the largest relative difference of x-gradients, and the mean difference of PSNR with its interval."""
    heads = ["attack", "model", "B", "engine", "largest difference of x-gradients", "PSNR, autograd in turn"]
    heads += [f"difference over {BATCHES} batches [95 %]"]
    rows = []
    for model in models:
        trials = make_trials(model, base.batch, base.size, BATCHES, base.device)
        for key in ATTACKS:
            rows += _rows(trials, key, model, engines, budget)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rows(trials: Trials, key: str, model: str, engines: Sequence[Engine], budget: int) -> list[list[str]]:
    attack = matching_attack(key)
    reference = trials.psnr(trials.run(attack, Engine(), budget))
    mean = sum(reference) / len(reference)
    rows = []
    for engine in engines:
        values = trials.psnr(trials.run(attack, engine, budget))
        measured = interval([mine - theirs for mine, theirs in zip(values, reference, strict=True)])
        difference = f"{measured.mean:+.3f} [{measured.low:+.3f}, {measured.high:+.3f}] dB"
        gradients = f"{_largest_difference(trials, attack, engine):.1e}"
        rows.append([key, model, str(trials.leaks[0].batch_size), str(engine), gradients, f"{mean:.2f} dB", difference])
    return rows


def _largest_difference(trials: Trials, attack: GradientMatching, engine: Engine) -> float:
    """The largest relative difference of the images' gradients from autograd's, over the points."""
    objective = Objective(trials.victim, attack.distance, attack.priors)
    leak = trials.leaks[0]
    points = torch.stack([point.to(trials.victim.device) for point in random_points(trials, POINTS)])
    variables: list[Tensor] = [points]
    if attack.labels.joint:
        variables.append(torch.randn(POINTS, leak.batch_size, leak.num_classes).to(points))
    given = [objective.given(leak, None if attack.labels.joint else leak.labels)] * POINTS
    with objective.ready():
        _, (expected, *_) = InTurn(objective, given)(variables, [False] * POINTS)
        _, (measured, *_) = InChunks(objective, variables, given, engine)(variables, [False] * POINTS)
    if expected is None or measured is None:
        raise RuntimeError(f"{engine} has no gradient for the images")
    norms = (expected.flatten(1).norm(dim=1), (measured - expected).flatten(1).norm(dim=1))
    return float((norms[1] / norms[0]).max())
