"""What public images have taught helps an attack that sees the gradient, and names nothing where it sees another's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.auxiliary import AutoencoderRecipe, train_autoencoder
from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.experiment.spec import TrialSpec
from gradinv.benchmark.experiment.trial import run_together
from gradinv.benchmark.victims import VictimSpec, load_victim

BATCHES, BUDGET, SIZE = 6, 150, 16
PLAIN = "inverting_gradients.cifar"
TAUGHT = "inverting_gradients.cifar[alpha_autoencoder=1.0]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`run(attack, control="")`: (PSNR in dB, rank of the original among the pool) of each of six photographs."""
    torch.set_num_threads(1)
    dataset = create_dataset("photos", SIZE)
    victim = VictimSpec(model="lenet_dlg", state="untrained")
    loaded = load_victim(victim, dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADINV_CACHE", str(tmp_path_factory.mktemp("cache")))
        train_autoencoder(dataset, AutoencoderRecipe(epochs=4))

        def trials(attack: str, control: str = "") -> list[tuple[float, float]]:
            specs = [
                TrialSpec(
                    dataset="photos",
                    image_size=SIZE,
                    data_hash="",
                    victim=victim,
                    weights_hash="",
                    attack=attack,
                    control=control,
                    defense="none",
                    threat_model=ThreatModel(bn_statistics="none", auxiliary_images="train"),
                    batch_size=1,
                    repetition=repetition,
                    budget=BUDGET,
                    metrics=("psnr", "identity_lowpass"),
                    together=BATCHES,
                    sources={},
                    versions={},
                )
                for repetition in range(BATCHES)
            ]
            outcomes = run_together(specs, dataset, loaded)
            scores = [outcome.images[0].metrics for outcome in outcomes]
            return [(score["psnr"], score["identity_lowpass"]) for score in scores]

        yield trials


def test_it_recovers_more_at_equal_budget_and_names_the_original(run: Callable) -> None:
    plain, taught = run(PLAIN), run(TAUGHT)
    gains = [with_it - without for (with_it, _), (without, _) in zip(taught, plain, strict=True)]
    assert min(gains) > 2
    assert [rank for _, rank in taught] == [0] * BATCHES


@pytest.mark.parametrize("control", ["prior_only", "other_gradient"])
def test_without_the_gradient_it_does_not_name_the_original(run: Callable, control: str) -> None:
    blind = run(TAUGHT, control)
    assert all(rank > 0 for _, rank in blind)
    assert all(seeing - other > 2 for (seeing, _), (other, _) in zip(run(TAUGHT), blind, strict=True))
