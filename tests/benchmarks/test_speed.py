"""What a trial is made of, timed: `tox -e bench`. Read ratios within one run, never seconds between machines."""

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from gradinv.attacks.gradient_matching.distances import CosineDistance, LayerwiseL2, SquaredL2
from gradinv.attacks.gradient_matching.evaluation import Engine
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.priors import BatchNormStatistics, TotalVariation
from gradinv.attacks.leak import Leak
from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.images.matching import match
from gradinv.metrics.images.scoring import score_images

OBJECTIVES = {
    "dlg": (SquaredL2(), []),
    "inverting_gradients": (CosineDistance(), [TotalVariation(0.1)]),
    "gradinversion": (LayerwiseL2(1e-3), [TotalVariation(1e-4), BatchNormStatistics(0.1)]),
}


def problem(model, batch_size, size=32):
    """A victim, a leak of random images, and a random candidate."""
    victim = Victim(build_network(model, num_classes=10, image_size=size, untrained=True))
    generator = torch.Generator().manual_seed(0)
    images, candidate = torch.randn(2, batch_size, 3, size, size, generator=generator)
    labels = torch.arange(batch_size) % 10
    gradients = {
        name: g.detach() for name, g in zip(victim.parameter_names, victim.update(images, labels), strict=True)
    }
    leak = Leak(
        gradients=gradients,
        batch_size=batch_size,
        image_shape=(3, size, size),
        num_classes=10,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        bn_statistics=victim.running_statistics or None,
    )
    return victim, leak, candidate, labels


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("model", ["lenet_dlg", "test_resnet", "resnet18"])
@pytest.mark.benchmark(group="evaluation, beside the victim's plain forward pass")
def test_forward(benchmark, model, batch_size):
    victim, _, candidate, _ = problem(model, batch_size)
    with torch.no_grad():
        benchmark(victim.module, candidate)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("model", ["lenet_dlg", "test_resnet", "resnet18"])
@pytest.mark.parametrize("attack", OBJECTIVES)
@pytest.mark.benchmark(group="evaluation, beside the victim's plain forward pass")
def test_evaluation(benchmark, attack, model, batch_size):
    victim, leak, candidate, labels = problem(model, batch_size)
    distance, priors = OBJECTIVES[attack]
    possible = [prior for prior in priors if leak.bn_statistics or not prior.needs_bn_statistics]
    objective = Objective(victim, distance, possible)
    given = objective.given(leak, labels)
    with objective.ready():
        benchmark(objective.evaluate, [candidate], given)


@pytest.mark.parametrize("derivatives", ["grouped", "torch"])
@pytest.mark.benchmark(group="depthwise network, derivatives for all groups at once and one after another")
def test_grouped_convolutions(benchmark, derivatives, monkeypatch):
    if derivatives == "torch":
        monkeypatch.setattr("gradinv.attacks.victim.network.grouped_convolutions", lambda _: nullcontext())
    victim, leak, candidate, labels = problem("mobilenetv2_100", 2, size=64)
    objective = Objective(victim, SquaredL2(), [])
    with objective.ready():
        benchmark(objective.evaluate, [candidate], objective.given(leak, labels))


@pytest.mark.parametrize("engine", [Engine(), Engine(together=8), Engine("compiled", together=8)], ids=str)
@pytest.mark.parametrize("model", ["lenet_dlg", "test_resnet"])
@pytest.mark.benchmark(group="eight candidates")
def test_eight_candidates(benchmark, model, engine):
    victim, leak, candidate, labels = problem(model, 1)
    objective = Objective(victim, *OBJECTIVES["inverting_gradients"])
    points, given = [candidate.repeat(8, 1, 1, 1, 1)], [objective.given(leak, labels)] * 8
    with objective.ready():
        evaluator, note = engine.evaluator(objective, points, given)
        assert note is None
        benchmark(evaluator, points, [False] * 8)


@pytest.mark.benchmark(group="scoring a batch of 48")
@pytest.mark.parametrize("metric", ["psnr", "ssim", "gmsd", "fft2d"])
def test_metric(benchmark, metric):
    images = torch.rand(2, 48, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    benchmark(score_images, images[0], images[1], (metric,))


@pytest.mark.benchmark(group="scoring a batch of 48")
def test_matching(benchmark):
    images = torch.rand(2, 48, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    benchmark(match, images[0], images[1])


@pytest.mark.benchmark(group="start-up")
@pytest.mark.parametrize("arguments", [["--help"], ["list", "attacks"]])
def test_start_up(benchmark, arguments):
    command = [sys.executable, "-c", "from gradinv.benchmark.cli import main; main()", *arguments]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True, "capture_output": True}, rounds=5)
