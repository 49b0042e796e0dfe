"""Facts about metrics are known without importing them, and order what every board shows."""

import math
import subprocess
import sys

import pytest

from gradinv.metrics.images.facts import board_metrics, counting, default_metrics, facts_of, measured_metrics
from gradinv.metrics.images.scoring import METRICS, ScoredBatch, register_metric


def test_what_is_read_and_printed_without_computing_waits_for_no_large_library():
    code = (
        "import sys; from gradinv.metrics.images.facts import board_metrics, facts_of; "
        "board_metrics(), facts_of('lpips_vgg'); "
        "from gradinv.metrics.boards import leaderboard, print_leaderboard; "
        "leaderboard([]); print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "scipy.stats", "matplotlib"} & set(modules.split())


def test_the_metrics_of_every_board_are_those_that_trial_ids_hold():
    measured = ("psnr", "ssim", "structure", "lpips_alex", "lpips_vgg", "gmsd", "fft2d", "identity_lowpass")
    assert board_metrics("image") == measured
    assert default_metrics() == ("psnr", "ssim", "lpips_alex", "lpips_vgg", "gmsd", "fft2d")
    assert board_metrics("batch") == ("label_accuracy",)
    assert board_metrics() == (*board_metrics("image"), *board_metrics("batch"))


def test_a_metric_of_a_batch_is_measured_unasked_and_stands_once(monkeypatch):
    monkeypatch.setitem(METRICS._entries, "mine", None)  # taken out again afterwards

    @register_metric("mine", title="Mine", direction="higher", per="batch", board_column=5)
    def mine(batch: ScoredBatch) -> float:
        return 1.0

    assert board_metrics() == ("mine", *board_metrics("image"), "label_accuracy")
    assert measured_metrics(["ssim"]) == ("ssim", "mine", "label_accuracy", "identity_lowpass", "structure")
    assert measured_metrics(["structure", "ssim"])[:2] == ("structure", "ssim")
    assert len(measured_metrics(["structure", "ssim"])) == 5


def test_a_metric_nobody_knows_has_no_facts_and_no_cap():
    assert facts_of("of_nobody") is None
    assert counting("of_nobody", [math.inf, 1e9, math.nan]) == [1e9]


def test_the_sign_turns_differences_into_gains():
    assert {name: facts_of(name).sign for name in ("psnr", "gmsd", "label_accuracy")} == pytest.approx(
        {"psnr": 1.0, "gmsd": -1.0, "label_accuracy": 1.0}
    )
