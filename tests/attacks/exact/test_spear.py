"""SPEAR solves small batches of deep ReLU networks exactly, stops by its own check, and proves nothing of another's."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.spear import PRECISIONS, factors, null_directions, sparsest_basis
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient


def attacked(batch, leak=None, key="spear"):
    return create_attack(key).reconstruct(batch.leak if leak is None else leak, batch.victim, seed=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("model", "size"), [("mlp6", 4), ("mlp_cpa", 4), ("mlp6", 2), ("mlp6", 1)])
def test_small_batches_are_exact_with_their_labels_and_proved(private, model, size, seed):
    batch = private(model, size, repetition=seed, seed=seed)
    result = attacked(batch)
    assert int(result.certified.sum()) == size
    assert float(batch.distances(result).max()) < 1e-9
    assert sorted(result.labels.tolist()) == sorted(batch.labels.tolist())
    assert result.evaluations == batch.victim.evaluations.spent == 0


def test_eight_images_of_six_layers(private):
    batch = private("mlp6", 8)
    result = attacked(batch)
    assert int(result.certified.sum()) == 8
    assert float(batch.distances(result).max()) < 1e-8


def test_single_precision_costs_digits_and_proves_whole_batches(private):
    for seed in range(3):
        batch = private("mlp6", 4, repetition=seed, seed=seed, dtype=torch.float32)
        result = attacked(batch)
        assert int(result.certified.sum()) == 4
        assert float(batch.distances(result).max()) < 1e-3


def test_another_batchs_update_proves_that_batchs_images_and_none_of_ours(private):
    batch, other = private("mlp6", 4), private("mlp6", 4, repetition=1)
    result = attacked(batch, other.leak)
    assert int(result.certified.sum()) == 4
    assert float(other.distances(result).max()) < 1e-9
    assert float(batch.distances(result).min()) > 0.1


@pytest.mark.parametrize("defense", ["gaussian_noise[sigma=1e-06]", "pruning[ratio=0.7]"])
def test_what_raises_the_rank_ends_it(private, defense):
    batch = private("mlp6", 4)
    for leak in (noise_gradient(batch.leak, 1), batch.defended(defense)):
        result = attacked(batch, leak)
        assert not bool(result.filled.any())
        assert not bool(result.certified.any())
        assert "has rank" in result.notes[0]


def test_clipping_and_an_unknown_batch_size_change_nothing(private):
    """The factor cancels; of a batch stated as larger the slots that nobody fills stay open, and it is said."""
    batch = private("mlp6", 4)
    clipped = attacked(batch, batch.defended("clipping[max_norm=0.01]"))
    assert int(clipped.certified.sum()) == 4
    assert float(batch.distances(clipped).max()) < 1e-9
    larger = attacked(batch, replace(batch.leak, batch_size=6))
    assert larger.filled.tolist() == [True] * 4 + [False] * 2
    assert larger.notes == ("of 6 images 4 can be told apart",)
    assert not bool(attacked(batch, replace(batch.leak, batch_size=3)).filled.any())


def test_too_few_submatrices_prove_nothing_false(private):
    batch = private("mlp6", 6)
    result = attacked(batch, key="spear[submatrices=30]")
    assert int(result.filled.sum()) < 6
    assert int(result.certified.sum()) == int(result.filled.sum())


def sparse_rows(generator, *, only_two):
    """Rows (m, 3) of three sparse columns in another basis; in most of them the third column is zero, or in few."""
    columns = torch.randn(90, 3, generator=generator, dtype=torch.float64)
    columns[:30, 0], columns[20:45, 1] = 0, 0
    columns[40 if only_two else 70 :, 2] = 0
    basis = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rows = columns @ basis
    return rows / rows.norm(dim=1, keepdim=True), torch.linalg.inv(basis).T


@pytest.mark.parametrize("only_two", [False, True])
def test_directions_of_most_zeros_are_the_columns_and_no_combination_of_two(only_two):
    """Rows in which only two images are active span a plane, whose directions have many zeros too (trap T16)."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = sparse_rows(generator, only_two=only_two)
    precision = PRECISIONS[torch.float64]
    found = sparsest_basis(null_directions(rows, 2000, generator), rows, precision)
    likeness = torch.cosine_similarity(found[:, None], columns[None], dim=2).abs()
    assert torch.allclose(likeness.max(0).values, torch.ones(3, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_factors_have_the_rank_of_the_batch_in_either_precision(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    product = (torch.randn(50, 5, generator=generator).to(dtype)) @ torch.randn(5, 80, generator=generator).to(dtype)
    left, right = factors(product)
    assert left.shape == (50, 5)
    assert float((left @ right - product).abs().max()) < tolerance


@pytest.mark.parametrize(
    ("network", "batch_size", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Sigmoid(), nn.Linear(8, 5)), 2, "no ReLU follows"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 5)), 8, "8 neurons tell fewer"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 5)), 2, "begins with Conv2d"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(inplace=True), nn.Linear(8, 5)), 2, None),
    ],
)
def test_where_it_cannot_work_it_is_skipped_with_the_reason(network, batch_size, reason):
    conditions = Conditions(
        ThreatModel(), batch_size=batch_size, num_classes=5, bn_layers=0, trained=False, image_size=8, network=network
    )
    said = create_attack("spear").reason_to_skip(conditions)
    assert said is None if reason is None else reason in said
