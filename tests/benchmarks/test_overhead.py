"""What a run costs beside its attacks, timed: `tox -e bench`. Read ratios within one run, never seconds."""

import pytest
import torch

from gradinv.attacks.leak import Reconstruction
from gradinv.benchmark.datasets.batches import Batch
from gradinv.benchmark.executors.jobs import execute, jobs_of
from gradinv.benchmark.executors.store import Store
from gradinv.benchmark.experiment.outcome import score
from gradinv.benchmark.runs.plan import Planner, hash_of
from gradinv.benchmark.runs.prepare import prepare_plan
from gradinv.benchmark.runs.suite import Suite
from gradinv.metrics.figures.all_figures import Material, draw_all
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records

SUITE = {
    "name": "trivial",
    "blocks": [
        {
            "dataset": "photos",
            "image_size": 16,
            "victims": [{"model": "lenet_dlg", "state": "untrained"}],
            "attacks": ["dlg"],
            "controls": ["other_gradient", "same_class", "mean_image"],
            "batch_sizes": [1, 4],
            "batches": 2,
            "budget": 1,
            "metrics": ["psnr", "ssim", "gmsd", "fft2d"],
        }
    ],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def jobs(directory):
    """The jobs, one a trial, of a suite whose attacks evaluate once."""
    suite = Suite.model_validate(SUITE)
    run = RunDirectory(directory)
    plan = prepare_plan(Planner(device="cpu", download=False).plan(suite, hash_of(suite)), run, progress=False)
    return [single for job in jobs_of(plan.trials, run) for single in job.singly()]


@pytest.mark.parametrize("control", ["", "other_gradient", "same_class", "mean_image"])
@pytest.mark.benchmark(group="a trivial trial")
def test_trial(benchmark, jobs, control):
    job = next(job for job in jobs if job.trials[0].spec.control == control)
    (record,) = benchmark(execute, job)
    assert record.state == "done"


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.benchmark(group="scoring an outcome")
def test_score(benchmark, batch_size):
    images = torch.rand(batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch_size)
    batch = Batch(images, labels, tuple(str(index) for index in range(batch_size)), tuple(range(batch_size)))
    guess = images.flip(-1)
    reconstruction = Reconstruction(images=guess, final=guess, labels=labels, label_method="given")
    benchmark(score, batch, reconstruction, ("psnr", "ssim", "gmsd", "fft2d"), ((0.0,), (1.0,)))


@pytest.mark.benchmark(group="writing a record")
def test_write(benchmark, jobs, tmp_path):
    (record,) = execute(jobs[0])
    benchmark(Store(RunDirectory(tmp_path)).write, record, {"original": torch.zeros(4, 3, 32, 32, dtype=torch.uint8)})


@pytest.mark.benchmark(group="figures of a small run")
def test_figures(benchmark, jobs, directory, tmp_path):
    for job in jobs:
        execute(job)
    records, _ = read_records([directory])
    benchmark.pedantic(draw_all, args=(Material(records, [], [directory]), tmp_path), rounds=2)
    assert list(tmp_path.glob("quality-*.pdf"))
