"""Planted leaks: what the verdict must find in pictures that PSNR acquits, and what it must not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradinv.benchmark.datasets import Batch, Dataset, create_dataset, draw_batch, draw_like, mean_image
from gradinv.benchmark.experiment.identity import pool_of, rivals_of
from gradinv.metrics.images.scoring import ScoredBatch, score_batch
from gradinv.metrics.leakage.verdict import Leakage, leakage_of
from gradinv.metrics.leakage.words import sentence
from gradinv.metrics.records.samples import sample_of

METRICS = ("psnr", "structure", "identity_lowpass")
SIZE = 32


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return create_dataset("photos", SIZE)


def chequered(batch: Batch) -> Tensor:
    """The originals under a checkerboard of one pixel that leaves about 7 dB."""
    places = torch.arange(SIZE)
    return (batch.images + 0.6 * (1.0 - 2 * ((places[:, None] + places) % 2))).clamp(0, 1)


@pytest.fixture
def planted(dataset, make_record) -> Callable[..., Leakage]:
    """`planted(pictures)`: the verdict on what `pictures(batch, repetition)` returns, over 8 batches of 4."""

    def records(name: str, pictures: Callable[[Batch, int], Tensor], *, is_control: bool) -> list:
        made = []
        for repetition in range(8):
            batch = draw_batch(dataset, repetition=repetition, batch_size=4)
            scored = ScoredBatch(
                pictures(batch, repetition), batch.images, pool=pool_of(dataset), rivals=rivals_of(dataset, batch)
            )
            values = score_batch(scored, METRICS).values
            record = make_record(name, repetition, values["psnr"].tolist(), is_control=is_control)
            images = [
                image.model_copy(update={"metrics": {metric: column[slot].item() for metric, column in values.items()}})
                for slot, image in enumerate(record.images)
            ]
            made.append(record.model_copy(update={"images": images}))
        return made

    def made(pictures: Callable[[Batch, int], Tensor], controls: dict[str, Callable]) -> Leakage:
        attack = sample_of(records("dlg", pictures, is_control=False), "records")
        return leakage_of(
            attack,
            {name: sample_of(records(name, control, is_control=True), "records") for name, control in controls.items()},
        )

    return made


@pytest.fixture
def mean(dataset) -> Callable[[Batch, int], Tensor]:
    return lambda batch, _: mean_image(dataset).expand_as(batch.images)


def like(dataset: Dataset, purpose: str) -> Callable[[Batch, int], Tensor]:
    """Other images of the batch's classes."""
    return lambda batch, repetition: draw_like(dataset, batch, repetition=repetition, purpose=purpose).images


def test_an_original_under_a_checkerboard_leaks_though_psnr_acquits_it(planted, dataset, mean) -> None:
    controls = {"mean_image": mean, "same_class": like(dataset, "same_class")}
    leakage = planted(lambda batch, _: chequered(batch), controls)
    assert leakage.gradient == ("structure", "identity")
    assert leakage.gains["pixels"].gain.mean < 0, "worse than the mean image by PSNR"
    assert leakage.gains["identity"].gain.mean > 0.3
    assert sentence(leakage).startswith("structure and identity leak, from the gradient")


def test_neither_the_mean_image_nor_another_of_the_class_is_an_identity_leak(planted, dataset, mean) -> None:
    same_class, other = like(dataset, "same_class"), like(dataset, "other")
    against_class = planted(mean, {"same_class": same_class})
    assert "identity" not in against_class.gradient
    against_mean = planted(same_class, {"mean_image": mean})
    assert against_mean.gradient == ()
    against_both = planted(other, {"mean_image": mean, "same_class": same_class})
    assert against_both.gradient == ()
    assert "identity" not in against_both.labels


def test_a_picture_of_the_right_class_that_resembles_the_mean_is_none_either(planted, dataset, mean) -> None:
    """The mean of the class: it wins by PSNR, and says nothing of who was photographed."""
    split = dataset.split("train")

    def of_the_class(batch: Batch, _: int) -> Tensor:
        members = [(split.labels == label).nonzero()[0].tolist() for label in batch.labels.tolist()]
        return torch.stack([split.images(indices).mean(0) for indices in members])

    leakage = planted(of_the_class, {"mean_image": mean, "same_class": like(dataset, "same_class")})
    assert "identity" not in leakage.gradient
