"""What a reconstruction is worth: fields of a record, metrics of images and of the batch, bits that a layout keeps."""

import math
from collections.abc import Callable

import pytest
import torch

from gradinv.attacks.leak import Reconstruction
from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.datasets.batches import Batch, draw_batch, mean_image
from gradinv.benchmark.experiment.identity import Identity
from gradinv.benchmark.experiment.outcome import Outcome, score
from gradinv.metrics.images.scoring import METRICS, ScoredBatch, register_metric, score_images

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def dataset(make_dataset: Callable) -> Dataset:
    """Four classes of 16x16 images."""
    return make_dataset()


@pytest.fixture
def batch(dataset: Dataset) -> Batch:
    """Four of its images."""
    return draw_batch(dataset, repetition=0, batch_size=4)


@pytest.fixture
def identity(dataset: Dataset, batch: Batch) -> Identity:
    """The judges of every trial, for that batch."""
    return Identity.of(dataset, batch, "lenet_dlg", None)


def reconstruction(batch: Batch, **changes: object) -> Reconstruction:
    """The originals, one place further on, with noise."""
    noise = 0.1 * torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(0))
    images = (batch.images + noise).roll(1, 0)
    given = {"images": images, "final": images, "labels": batch.labels, "label_method": "given"}
    return Reconstruction(**(given | changes))


def test_a_trial_that_was_not_scored_has_a_state_and_a_reason() -> None:
    outcome = Outcome(state="skipped", reason="no batch norm")
    assert (outcome.images, outcome.metrics, outcome.evaluations, outcome.tensors) == ([], {}, 0, {})


def test_metrics_of_a_batch_see_what_was_matched(
    batch: Batch, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS._entries, "mine", None)  # taken out again afterwards
    seen: list[ScoredBatch] = []

    @register_metric("mine", title="Mine", direction="higher", per="batch", board_column=99)
    def mine(scored: ScoredBatch) -> float:
        seen.append(scored)
        return math.nan if scored.labels is None else 0.25

    outcome = score(batch, reconstruction(batch), ("psnr",), PLAIN, identity)
    assert outcome.metrics == {"label_accuracy": 1.0, "mine": 0.25}
    assert [image.reconstruction for image in outcome.images] == [1, 2, 3, 0]
    assert torch.equal(seen[0].originals, batch.images)
    assert (seen[0].reconstructions - batch.images).abs().mean() < 0.2
    assert torch.equal(seen[0].true_labels, batch.labels)
    claims_none = score(batch, reconstruction(batch, labels=batch.labels[:0]), ("psnr",), PLAIN, identity)
    assert claims_none.metrics == {}


def test_what_the_attack_says_of_itself_is_kept(batch: Batch, identity: Identity) -> None:
    said = {"stopped": "below the tolerance", "alignments": {"accepted": 2}, "evaluations": 7, "notes": ("odd",)}
    outcome = score(batch, reconstruction(batch, **said, diverged=True, uses=("labels",)), (), PLAIN, identity)
    assert (outcome.state, outcome.stopped, outcome.alignments) == ("diverged", "below the tolerance", {"accepted": 2})
    assert (outcome.evaluations, outcome.notes, outcome.uses) == (7, ["odd"], ["labels"])


def test_numbers_are_those_of_the_images_as_they_lie_in_memory(batch: Batch, identity: Identity) -> None:
    images = (batch.images * 0.9).contiguous(memory_format=torch.channels_last)
    outcome = score(batch, reconstruction(batch, images=images, final=images), ("ssim",), PLAIN, identity)
    expected = score_images(images, batch.images, ("ssim",)).values["ssim"].tolist()
    assert [image.metrics["ssim"] for image in outcome.images] == expected


def test_every_image_is_ranked_in_the_pool_and_so_is_every_snapshot(batch: Batch, identity: Identity) -> None:
    snapshots = (batch.images.roll(1, 0), torch.full_like(batch.images, 0.5))
    made = reconstruction(batch, images=batch.images.roll(1, 0), snapshots=snapshots, snapshot_at=(1, 2))
    outcome = score(batch, made, (), PLAIN, identity)
    assert [image.metrics["identity_lowpass"] for image in outcome.images] == [0.0] * 4
    assert outcome.snapshot_identity == [0.0, 0.5]
    assert {image.details["identity_pool"] for image in outcome.images} == {len(identity.rivals[0])}
    assert (list(outcome.judges), outcome.pool) == (["identity_lowpass"], identity.pool.name)


def test_open_slots_are_the_mean_image_and_what_is_proved_follows_its_image(
    batch: Batch, dataset: Dataset, identity: Identity
) -> None:
    """Slot 0 holds the last original, 1 the first one, altered; the rest is rubbish in slots that are left open."""
    images = torch.stack([batch.images[3], (batch.images[0] + 0.01).clamp(0, 1), *torch.rand(2, 3, 16, 16)])
    masks = {"filled": torch.tensor([True, True, False, False]), "certified": torch.tensor([True, False, False, False])}
    outcome = score(batch, reconstruction(batch, images=images, final=images, **masks), ("psnr",), PLAIN, identity)
    assert [image.details["recovered"] for image in outcome.images] == [0, 0, 0, 1]
    assert [image.details["certified"] for image in outcome.images] == [0, 0, 0, 1]
    assert "some slots were left open, and were scored as the mean image" in outcome.notes
    mean = (255 * mean_image(dataset)).round().to(torch.uint8)
    for slot in (1, 2):
        assert torch.equal(outcome.tensors["reconstruction"][slot], mean.expand(3, 16, 16))


def test_a_whole_result_says_nothing_of_open_slots(batch: Batch, identity: Identity) -> None:
    outcome = score(batch, reconstruction(batch, images=batch.images.double()), ("psnr",), PLAIN, identity)
    assert [image.details["recovered"] for image in outcome.images] == [1] * 4
    assert all("certified" not in image.details for image in outcome.images)
    assert not any("open" in note for note in outcome.notes)
