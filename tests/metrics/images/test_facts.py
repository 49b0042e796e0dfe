"""Scales are those the metrics register, known without importing them."""

import math
import subprocess
import sys

import pytest

from gradinv.metrics.boards.columns import IMAGE_METRICS
from gradinv.metrics.images.facts import counting, facts_of
from gradinv.metrics.images.scoring import METRICS


@pytest.mark.parametrize("metric", IMAGE_METRICS)
def test_scales_are_the_registered_ones(metric):
    read, known = METRICS.constants(metric), METRICS.get(metric).metadata
    facts = facts_of(metric)
    assert facts is not None
    assert {name: value for name, value in known.items() if name in read} == read
    assert facts[:5] == tuple(known[name] for name in ("title", "direction", "low", "high", "unit"))
    assert facts.cap == (math.inf if known["cap"] is None else known["cap"])


def test_reading_them_imports_no_torch():
    code = (
        "import sys; from gradinv.metrics.images.facts import facts_of; "
        "facts_of('psnr'), facts_of('lpips_vgg'); print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "torch" not in said.split()


def test_a_metric_nobody_knows_has_no_scale_and_no_cap():
    assert facts_of("of_nobody") is None
    assert counting("of_nobody", [math.inf, 1e9, math.nan]) == [1e9]


def test_the_sign_turns_differences_into_gains():
    found = {name: facts.sign for name in ("psnr", "gmsd", "label_accuracy") if (facts := facts_of(name))}
    assert found == {"psnr": 1.0, "gmsd": -1.0, "label_accuracy": 1.0}
