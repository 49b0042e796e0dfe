"""Autoencoders of public images: trained on those alone, kept with where they come from, granted only where said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gradinv.attacks.leak import ThreatModel, reencoded
from gradinv.benchmark.auxiliary import (
    AutoencoderError,
    AutoencoderRecipe,
    auxiliary_images,
    train_autoencoder,
    trained_autoencoder,
)
from gradinv.benchmark.auxiliary.autoencoder import autoencoder_path
from gradinv.benchmark.datasets import ArraySplit, DataError, Dataset, create_dataset
from gradinv.benchmark.experiment import ImpossibleCellError, data_hash
from gradinv.benchmark.experiment.outcome import Outcome
from gradinv.benchmark.experiment.spec import TrialSpec
from gradinv.benchmark.experiment.trial import run_together
from gradinv.benchmark.victims import VictimSpec, load_victim

FEW = AutoencoderRecipe(images=60, epochs=2, batch_size=16)
GRANTED = ThreatModel(bn_statistics="none", auxiliary_images="train")
TAUGHT = "inverting_gradients[alpha_autoencoder=0.1]"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    return tmp_path / "cache"


def trial(dataset: Dataset, attack: str, granted: ThreatModel = GRANTED, **changes: Any) -> Outcome:
    victim = VictimSpec(model="lenet_dlg", state="untrained")
    spec = TrialSpec(
        dataset=dataset.name,
        image_size=dataset.image_size,
        data_hash="",
        victim=victim,
        weights_hash="",
        attack=attack,
        defense="none",
        threat_model=granted,
        **{"batch_size": 1, "repetition": 0, "budget": 3, **changes},
        metrics=("psnr",),
        sources={},
        versions={},
    )
    return run_together([spec], dataset, load_victim(victim, dataset))[0]


@pytest.mark.parametrize("size", [None, 16])
def test_no_public_image_is_tuned_on_or_attacked(size: int | None) -> None:
    """Not one picture of the shipped photographs, and not by what is trained on more than asked for either."""
    dataset = create_dataset("photos", size)
    public, tuning, evaluation = (
        {dataset.split(role).image_hash(index) for index in indices}
        for role, indices in (
            ("train", auxiliary_images(dataset, 10**6)),
            ("tuning", range(len(dataset.split("tuning")))),
            ("evaluation", range(len(dataset.split("evaluation")))),
        )
    )
    assert len(public) > 1_900
    assert not public & tuning
    assert not public & evaluation


def test_training_asks_for_train_images_alone(make_dataset: Callable) -> None:
    whole = make_dataset()
    asked: list[int] = []

    class Watched(ArraySplit):
        def pixels(self, indices: Any) -> np.ndarray:
            asked.extend(indices)
            return super().pixels(indices)

    def refuse() -> ArraySplit:
        raise AssertionError("held-out images were asked for")

    train = whole.split("train")
    watched = Watched(train.pixels(range(len(train))), train.labels)
    loaders = {"train": lambda: watched, "tuning": refuse, "evaluation": refuse}
    dataset = Dataset("tiny", whole.classes, whole.image_size, loaders)
    train_autoencoder(dataset, FEW)
    assert set(asked) == set(auxiliary_images(dataset, FEW.images))


def test_it_is_the_same_to_the_bit_and_says_where_it_comes_from(make_dataset: Callable, cache: Path) -> None:
    dataset = make_dataset()
    assert trained_autoencoder(dataset) is None
    path = train_autoencoder(dataset, FEW)
    first = load_file(path)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert path.parent == cache / "autoencoders"
    assert (facts["split"], facts["split_hash"]) == ("train", dataset.split("train").content_hash)
    count = min(FEW.images, len(dataset.split("train")))
    assert facts["trained_on"] == count - round(0.1 * count)
    assert facts["recipe"] == FEW.model_dump()
    taught = trained_autoencoder(dataset)
    assert taught is not None
    assert taught.words == f"{facts['trained_on']} train images of {dataset.name}, 2 epochs"
    assert train_autoencoder(dataset, FEW) == path
    assert all(torch.equal(value, first[name]) for name, value in load_file(path).items())
    train_autoencoder(dataset, FEW, seed=1)
    anew = trained_autoencoder(dataset)
    assert anew is not None
    assert anew.sha256 != taught.sha256


def test_training_makes_images_come_out_better(make_dataset: Callable) -> None:
    dataset = create_dataset("photos", 16)
    errors = []
    for epochs in (1, 4):
        path = train_autoencoder(dataset, AutoencoderRecipe(images=300, epochs=epochs))
        pixels = dataset.split("tuning").images(range(0, 512, 8))
        errors.append(float((reencoded(load_file(path), pixels) - pixels).square().mean()))
        said = json.loads(path.with_suffix(".json").read_text())["held_out_error"]
        assert said == pytest.approx(errors[-1], rel=0.5)
    assert errors[1] < 0.7 * errors[0]


def test_a_trial_is_skipped_until_it_is_trained_and_then_says_what_it_used(make_dataset: Callable) -> None:
    dataset = make_dataset()
    with pytest.raises(ImpossibleCellError, match="no autoencoder is here"):
        trial(dataset, TAUGHT)
    plain = trial(dataset, "inverting_gradients")  # one that uses nothing of the grant needs nothing trained
    train_autoencoder(dataset, FEW)
    taught = trained_autoencoder(dataset)
    assert taught is not None
    outcome = trial(dataset, TAUGHT)
    assert outcome.uses == ["gradient", "labels", "auxiliary_images"]
    assert f"autoencoder: {taught.words}, sha256 {taught.sha256[:16]}" in outcome.notes
    assert plain.uses == trial(dataset, "inverting_gradients").uses == ["gradient", "labels"]
    assert trial(dataset, TAUGHT, control="prior_only").uses == ["labels", "auxiliary_images"]
    with pytest.raises(ImpossibleCellError, match="needs auxiliary_images: train"):
        trial(dataset, TAUGHT, ThreatModel(bn_statistics="none"))


def test_what_was_taught_is_part_of_the_trial(make_dataset: Callable) -> None:
    dataset = make_dataset()
    hashes = [data_hash(dataset, TAUGHT, "", GRANTED)]
    for seed in (0, 1):
        train_autoencoder(dataset, FEW, seed=seed)
        hashes.append(data_hash(dataset, TAUGHT, "", GRANTED))
    assert len(set(hashes)) == 3
    for control, granted in (("", ThreatModel()), ("same_class", GRANTED)):  # who does not see it keeps its id
        assert data_hash(dataset, TAUGHT, control, granted) == hashes[0] != hashes[1]


def test_every_attack_that_matches_takes_it_alone_or_side_by_side(make_dataset: Callable) -> None:
    dataset = make_dataset()
    train_autoencoder(dataset, FEW)
    steps = GRANTED.model_copy(update={"update": "weight_update[epochs=2,lr=0.01]"})
    for name, granted in (
        ("dlg", GRANTED),
        ("idlg", GRANTED),
        ("inverting_gradients", GRANTED),
        ("gradinversion.no_bn", GRANTED),
        ("deep_image_prior", GRANTED),
        ("april_matching.no_position", GRANTED),
        ("surrogate_model", steps),
        ("dimitrov", steps),
    ):
        attack = f"{name}[alpha_autoencoder=0.1]"
        alone = trial(dataset, attack, granted, budget=4)
        together = trial(dataset, attack, granted, budget=4, together=2)
        assert "auxiliary_images" in alone.uses
        assert together.engine == "eager, 2 together"
        assert together.curve[0][1] == pytest.approx(alone.curve[0][1], rel=1e-3)


def test_what_cannot_be_trained_or_read_is_one_line(make_dataset: Callable) -> None:
    dataset = make_dataset()
    train = dataset.split("train")
    one = Dataset("one", dataset.classes, 16, {"train": lambda: ArraySplit(train.pixels([0]), train.labels[:1])})
    with pytest.raises(AutoencoderError, match="one has 1 train images; an autoencoder needs 2"):
        train_autoencoder(one)
    none = Dataset("none", dataset.classes, 16, {})
    assert trained_autoencoder(none) is None
    with pytest.raises(DataError, match="has no train images"):
        train_autoencoder(none)
    train_autoencoder(dataset, FEW)
    autoencoder_path(dataset).with_suffix(".json").write_text("{}")
    with pytest.raises(AutoencoderError, match="hold no autoencoder"):
        trained_autoencoder(dataset)
