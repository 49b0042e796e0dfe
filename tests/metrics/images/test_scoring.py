"""Scoring a batch: what is computed, what is left out with a note, and what is refused."""

import math
import subprocess
import sys

import pytest
import torch

from gradinv.metrics.images.scoring import (
    METRICS,
    ScoredBatch,
    Scores,
    register_metric,
    score_batch,
    score_images,
)
from gradinv.metrics.registry import UnknownNameError

WEIGHTLESS = ("psnr", "ssim", "gmsd", "fft2d")


def test_names_are_listed_without_torch() -> None:
    code = (
        "import sys; from gradinv.metrics.images.scoring import METRICS; "
        "print('ssim' in METRICS.names(), 'torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "False"]


def test_every_metric_scores_every_image() -> None:
    originals = torch.rand(3, 3, 32, 32)
    scores = score_images(originals, originals, WEIGHTLESS)
    assert isinstance(scores, Scores)
    assert scores.notes == ()
    assert {name: tuple(values.shape) for name, values in scores.values.items()} == dict.fromkeys(WEIGHTLESS, (3,))


def test_images_too_small_for_a_metric_leave_its_column_empty() -> None:
    small = torch.rand(1, 3, 10, 40)
    scores = score_images(small, small, WEIGHTLESS)
    assert list(scores.values) == ["psnr", "gmsd", "fft2d"]
    assert scores.notes == ("ssim: defined from 11 px, the images have 10",)


def test_a_new_metric_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS._entries, "worst_pixel", None)  # taken out again afterwards

    @register_metric("worst_pixel", title="Worst pixel", direction="lower", low=0, high=1)
    def worst_pixel(reconstructions: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
        return (reconstructions - originals).abs().amax((1, 2, 3))

    assert score_images(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4), ["worst_pixel"]).values[
        "worst_pixel"
    ].tolist() == [1.0, 1.0]


def test_a_new_metric_of_a_batch_is_one_function_of_what_was_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS._entries, "spread", None)  # taken out again afterwards

    @register_metric("spread", title="Spread", direction="higher", low=0, high=1, per="batch", min_size=4)
    def spread(batch: ScoredBatch) -> float:
        return math.nan if batch.labels is None else float(batch.reconstructions.amax() - batch.reconstructions.amin())

    images, labels = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]), torch.tensor([1, 2])
    scores = score_batch(ScoredBatch(images, images, labels, labels), ["psnr", "spread", "label_accuracy"])
    assert list(scores.values) == ["psnr"]
    assert scores.batch_values == {"spread": 1.0, "label_accuracy": 1.0}
    unlabelled = score_batch(ScoredBatch(images, images), ["spread", "label_accuracy"])
    assert (unlabelled.batch_values, unlabelled.notes) == ({}, ())
    small = images[..., :3]
    assert score_batch(ScoredBatch(small, small), ["spread"]).notes == ("spread: defined from 4 px, the images have 3",)


def test_an_unknown_metric_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean ssim"):
        score_images(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), ["sim"])


GOOD = torch.full((2, 3, 16, 16), 0.5)


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (GOOD[0], r"\(B, C, H, W\) with C = 1 or 3, not \(3, 16, 16\)"),
        (GOOD[:, :2], r"C = 1 or 3, not \(2, 2, 16, 16\)"),
        (GOOD[:0], r"not \(0, 3, 16, 16\)"),
        ((GOOD * 255).to(torch.uint8), "floats in .*not torch.uint8"),
        (GOOD * 4, r"not in \[2, 2\]"),
        (GOOD - 1, r"not in \[-0.5, -0.5\]"),
        (GOOD * math.nan, r"not in \[nan, nan\]"),
    ],
)
def test_images_that_are_no_images_are_refused_by_name(images: torch.Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"reconstructions must .*{complaint}"):
        score_images(images, GOOD, ["psnr"])
    with pytest.raises(ValueError, match=f"originals must .*{complaint}"):
        score_images(GOOD, images, ["psnr"])


def test_batches_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reconstructions are \(1, 3, 16, 16\), originals \(2, 3, 16, 16\)"):
        score_images(GOOD[:1], GOOD, ["psnr"])
