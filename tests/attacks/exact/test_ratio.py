"""The ratio is exact in single precision and under any clipping, a mixture for several images, and proves itself."""

from dataclasses import replace

import pytest
import torch

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.ratio import quotient
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient

MODELS = ("mlp1000", "mlp_cpa", "mlp6", "mlp500x6")


@pytest.mark.parametrize(("model", "size"), [*((model, 32) for model in MODELS), ("mlp_cpa", "24x32")])
def test_one_image_comes_back_in_single_precision_with_its_label_and_proved(private, model, size):
    batch = private(model, dtype=torch.float32, size=size)
    result = create_attack("ratio").reconstruct(batch.leak, batch.victim, seed=0)
    assert batch.psnr(result) > 100
    assert result.labels.tolist() == batch.labels.tolist()
    assert (result.certified.tolist(), result.filled.tolist(), result.stopped) == ([True], [True], "closed form")


@pytest.mark.parametrize("bound", [10.0, 1.0, 1e-3])
def test_no_clipping_changes_the_image(private, bound):
    batch = private("mlp1000", dtype=torch.float32)
    plain, clipped = (
        create_attack("ratio").reconstruct(leak, batch.victim, seed=0)
        for leak in (batch.leak, batch.defended(f"clipping[max_norm={bound}]"))
    )
    assert torch.allclose(plain.images, clipped.images, rtol=1e-6, atol=1e-7)
    assert clipped.certified.tolist() == [True]


def test_a_factor_that_is_a_power_of_two_changes_no_bit(private):
    batch = private("mlp1000", dtype=torch.float32)
    halved = replace(batch.leak, gradients={name: value / 64 for name, value in batch.leak.gradients.items()})
    plain, clipped = (create_attack("ratio").reconstruct(x, batch.victim, seed=0) for x in (batch.leak, halved))
    assert torch.equal(plain.images, clipped.images)


def test_of_several_images_the_quotient_is_a_mixture_whose_coefficients_sum_to_one(private):
    batch = private("mlp1000", 4)
    mixture = quotient(batch.leak.gradients["1.weight"], batch.leak.gradients["1.bias"], 1)
    originals = batch.images.double().flatten(1).T
    coefficients = torch.linalg.lstsq(originals, mixture).solution
    assert float(coefficients.sum()) == pytest.approx(1, abs=1e-9)
    assert torch.allclose(originals @ coefficients, mixture, atol=1e-9)
    assert float(coefficients.abs().max()) < 0.99


def test_least_squares_is_exact_too_and_better_under_noise(private):
    batch = private("mlp1000")
    noisy = batch.defended("gaussian_noise[sigma=0.01]")
    keys = ("ratio", "ratio.least_squares")
    exact, noised = (
        [batch.psnr(create_attack(key).reconstruct(leak, batch.victim, seed=0)) for key in keys]
        for leak in (batch.leak, noisy)
    )
    assert min(exact) > 200
    assert noised[1] > noised[0] + 3


def test_noise_in_the_updates_place_and_a_noisy_update_prove_nothing(private):
    batch = private("mlp1000", dtype=torch.float32)
    other = private("mlp1000", repetition=1, dtype=torch.float32)
    leaks = [noise_gradient(batch.leak, 1), batch.defended("gaussian_noise[sigma=0.01]"), other.leak]
    noise, noisy, others = (create_attack("ratio").reconstruct(leak, batch.victim, seed=0) for leak in leaks)
    assert [noise.certified.tolist(), noisy.certified.tolist()] == [[False], [False]]
    assert batch.psnr(noise) < 30
    # Another batch's update proves that batch's image.
    assert others.certified.tolist() == [True]
    assert other.psnr(others) > 100
    assert batch.psnr(others) < 30


def test_where_no_neuron_is_live_the_slot_is_left_open(private):
    batch = private("mlp1000")
    dead = replace(batch.leak, gradients={name: 0 * value for name, value in batch.leak.gradients.items()})
    result = create_attack("ratio").reconstruct(dead, batch.victim, seed=0)
    assert (result.filled.tolist(), result.certified.tolist(), result.labels.tolist()) == ([False], [False], [-1])


@pytest.mark.parametrize("granted", [True, False])
def test_labels_that_are_tried_are_evaluations_and_are_reported(private, granted):
    batch = private("mlp_cpa")
    leak = replace(batch.leak, labels=batch.labels) if granted else batch.leak
    batch.victim.evaluations.restart()
    result = create_attack("ratio").reconstruct(leak, batch.victim, seed=0)
    assert result.evaluations == (1 if granted else 11)
    assert batch.victim.evaluations.spent <= result.evaluations


@pytest.mark.parametrize(
    ("budget", "labels", "possible"), [(10, "none", False), (11, "none", True), (1, "known", True)]
)
def test_a_budget_below_one_evaluation_a_label_makes_it_impossible(budget, labels, possible):
    granted = ThreatModel(labels=labels)
    conditions = Conditions(
        granted, batch_size=1, num_classes=10, bn_layers=0, trained=False, image_size=8, budget=budget
    )
    reason = create_attack("ratio").reason_to_skip(conditions)
    assert (reason is None) == possible
