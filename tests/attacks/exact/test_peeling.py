"""Peeling finds and proves whole batches in double precision, and proves nothing where the update is another's."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradinv.attacks.exact.peeling import Peeler, voted
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient


def attacked(batch, leak=None, key="peeling"):
    return create_attack(key).reconstruct(batch.leak if leak is None else leak, batch.victim, seed=0)


def proved(result):
    """How many images it certifies; each stands in a slot that is filled."""
    assert bool((result.filled | ~result.certified).all())
    return int(result.certified.sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sixteen_images_are_found_and_proved_with_their_labels(private, seed):
    batch = private("mlp1000", 16, repetition=seed, seed=seed)
    result = attacked(batch)
    assert proved(result) == 16
    assert float(batch.distances(result).max()) < 1e-6
    assert sorted(result.labels.tolist()) == sorted(batch.labels.tolist())
    # Whatever the rounds ask the network for, it is no gradient of a parameter.
    assert result.evaluations == batch.victim.evaluations.spent == create_attack("peeling").evaluations(None) == 0


@pytest.mark.parametrize(("model", "size"), [("mlp1000", 64), ("mlp_cpa", 4), ("mlp6", 4), ("mlp300x3", 8)])
def test_other_widths_depths_and_a_large_batch(private, model, size):
    batch = private(model, size)
    result = attacked(batch)
    assert proved(result) >= 0.95 * size
    assert float(batch.distances(result).max()) < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_single_precision_proves_whole_batches_and_nothing_false(private, seed):
    batch = private("mlp1000", 16, repetition=seed, seed=seed, dtype=torch.float32)
    result = attacked(batch)
    assert int(result.filled.sum()) >= 12
    assert proved(result) in (0, 16)
    assert proved(result) == 0 or float(batch.distances(result).max()) < 0.05


def test_in_single_precision_a_part_of_a_batch_is_no_proof(private):
    """Whatever is found of a batch of which something is left over, and a batch with one image in a wrong place."""
    batch = private("mlp1000", 8, dtype=torch.float32)
    assert proved(attacked(batch)) == 8
    peeler = Peeler(batch.leak, batch.victim, loosen=1)
    while peeler.peel():
        assert peeler.is_proof == (peeler.missing == 0)
    gradients = {name: value * (1 + 0.01 * (value > 0)) for name, value in batch.leak.gradients.items()}
    assert proved(attacked(batch, replace(batch.leak, gradients=gradients))) == 0


@pytest.mark.parametrize("size", [15, 17])
def test_a_batch_size_that_is_wrong_by_one_proves_nothing(private, size):
    batch = private("mlp1000", 16)
    assert proved(attacked(batch, replace(batch.leak, batch_size=size))) == 0


@pytest.mark.parametrize("key", ["peeling", "peeling.clipped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_in_the_updates_place_proves_nothing(private, key, dtype):
    batch = private("mlp1000", 16, dtype=dtype)
    assert proved(attacked(batch, noise_gradient(batch.leak, 1), key)) == 0


def test_another_batchs_update_proves_that_batchs_images_and_none_of_ours(private):
    batch, other = private("mlp1000", 16), private("mlp1000", 16, repetition=1)
    result = attacked(batch, other.leak)
    assert proved(result) == 16
    assert float(other.distances(result).max()) < 1e-6
    assert float(batch.distances(result).min()) > 0.1


def test_a_pruned_update_proves_nothing(private):
    batch = private("mlp1000", 16)
    leak = batch.defended("pruning[ratio=0.7]")
    assert [proved(attacked(batch, leak, key)) for key in ("peeling", "peeling.clipped")] == [0, 0]


def test_clipping_is_one_unknown_factor(private):
    batch = private("mlp1000", 16)
    clipped = batch.defended("clipping[max_norm=1.0]")
    assert proved(attacked(batch, clipped)) == 0
    informed = replace(clipped, transform="clipped[max_norm=1.0]")
    for leak, key in ((clipped, "peeling.clipped"), (informed, "peeling")):
        result = attacked(batch, leak, key)
        assert proved(result) == 16
        assert float(batch.distances(result).max()) < 1e-6


def test_a_loosened_certificate_finds_under_noise_and_certifies_nothing(private):
    batch = private("mlp1000", 16)
    noisy = batch.defended("gaussian_noise[sigma=1e-06]")
    loose = attacked(batch, noisy, "peeling[loosen=10000.0]")
    assert int((batch.distances(loose) < 1).sum()) >= 8
    assert proved(loose) == 0


def test_an_activation_in_place_is_an_activation(private):
    batch = private(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(inplace=True), nn.Linear(64, 10)), 2, size=8
    )
    assert proved(attacked(batch)) == 2


def test_no_budget_ends_it_and_what_is_open_is_open(private):
    # Too few neurons for so many images: some are alone nowhere.
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 10))
    batch = private(network, 8, size=8)
    result = create_attack("peeling").reconstruct(batch.leak, batch.victim, seed=0, budget=0)
    assert 0 < int(result.filled.sum()) < 8
    assert torch.equal(result.images, attacked(batch).images)
    assert result.labels[~result.filled].unique().tolist() == [-1]


def test_a_vote_needs_voters():
    assert voted(torch.rand(40, generator=torch.Generator().manual_seed(0)), 1e-6) is None
    assert voted(torch.empty(0), 1e-6) is None
