"""What an attack leaves behind is turned back, and what it cannot have done fails its trial by name."""

# ruff: noqa: NPY002 - NumPy's global generator is one of the switches
import random
from contextlib import suppress

import numpy as np
import pytest
import torch

from gradinv.attacks.leak import Reconstruction
from gradinv.benchmark.experiment.isolation import ImpossibleResultError, check_result, restored_switches

SHAPE = (1, 3, 4, 4)


def reconstruction(**changes):
    images = torch.zeros(SHAPE)
    fields = {"images": images, "final": images, "labels": torch.tensor([0]), "label_method": "given", "evaluations": 5}
    return Reconstruction(**(fields | changes))


def switches():
    return (
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(), torch.random.get_rng_state().sum().item(),
        np.random.get_state()[1].sum(), hash(random.getstate()),
    )  # fmt: skip


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_switches_are_turned_back_however_the_attack_ends(ends):
    before = switches()
    with suppress(ZeroDivisionError), restored_switches():
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2 if before[2] == 1 else 1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(123)
        np.random.seed(123)
        random.seed(123)
        torch.rand(3), np.random.rand(3), random.random()
        assert switches() != before
        assert 1 / (ends == "well")
    assert switches() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"evaluations": 101}, "spent 101 evaluations, its budget is 100"),
        ({"evaluations": -1}, "-1 evaluations, which is no count"),
        ({"evaluations": 1.5}, "1.5 evaluations, which is no count"),
        ({"evaluations": True}, "True evaluations, which is no count"),
        ({"images": torch.zeros(2, 3, 4, 4)}, r"images of shape \(2, 3, 4, 4\), the batch is \(1, 3, 4, 4\)"),
        ({"final": torch.zeros(1, 1, 4, 4)}, "final of shape"),
        ({"objective_end": "low"}, "objective_end is 'low', no number"),
    ],
)
def test_what_cannot_be_is_said(changes, reason):
    check_result(reconstruction(), SHAPE, 100)
    with pytest.raises(ImpossibleResultError, match=reason):
        check_result(reconstruction(**changes), SHAPE, 100)


def test_a_budget_that_is_the_papers_bounds_nothing():
    check_result(reconstruction(evaluations=10**6), SHAPE, None)
