"""Blind separation: as good as FastICA on the same mixtures, by an objective whose every term counts."""

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import FastICA
from torch import Tensor

from gradinv.attacks.exact.cocktail_party import Weights, negentropy, objective, scaled, whiten
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.experiment.controls import noise_gradient


def fast_ica(mixtures: Tensor, count: int) -> Tensor:
    """The sources of mixtures (m, n) by scikit-learn's symmetric fixed point with log cosh."""
    ica = FastICA(count, fun="logcosh", whiten="unit-variance", max_iter=1_000, tol=1e-10, random_state=0)
    return torch.from_numpy(ica.fit_transform(mixtures.T.double().numpy()).T)


def correlation(found: Tensor, originals: Tensor) -> float:
    """Mean absolute correlation of images (B, n), matched one to one."""
    found, originals = (x - x.mean(1, keepdim=True) for x in (found.flatten(1).double(), originals.flatten(1).double()))
    table = (torch.nn.functional.normalize(found) @ torch.nn.functional.normalize(originals).T).abs()
    rows, columns = linear_sum_assignment(-table.numpy())
    return float(table[rows, columns].mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_at_four_images_it_is_as_good_as_fast_ica(private, seed):
    batch = private("mlp_cpa", 4, repetition=seed, seed=seed)
    result = create_attack("cocktail_party").reconstruct(batch.leak, batch.victim, seed=0)
    oracle = fast_ica(batch.leak.gradients["1.weight"], 4)
    assert correlation(result.images, batch.images) > correlation(oracle, batch.images) - 0.02
    assert result.objective_end < result.objective_start
    noise = create_attack("cocktail_party").reconstruct(noise_gradient(batch.leak, 1), batch.victim, seed=0)
    assert correlation(noise.images, batch.images) < 0.3


def test_each_weight_changes_the_gradient_of_the_directions():
    """In the authors' release the negentropy is computed and then overwritten."""
    generator = torch.Generator().manual_seed(0)
    whitened = whiten(torch.rand(8, 48, generator=generator, dtype=torch.float64), 3)
    directions = torch.randn(3, 3, generator=generator, dtype=torch.float64).requires_grad_(True)

    def gradient(weights: Weights) -> Tensor:
        return torch.autograd.grad(objective(directions, whitened, (3, 4, 4), weights), directions)[0]

    plain = Weights(1.0, 0.1, 0.1)
    for name in Weights._fields:
        assert not torch.allclose(gradient(plain), gradient(plain._replace(**{name: 0.0})), atol=1e-6), name


def test_normal_sources_have_no_negentropy_and_flat_ones_have():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1, 200_000, generator=generator, dtype=torch.float64)
    flat = math.sqrt(12) * (torch.rand(1, 200_000, generator=generator, dtype=torch.float64) - 0.5)
    assert float(negentropy(normal)) < 1e-5 < 1e-4 < float(negentropy(flat))


def test_sign_contrast_and_brightness_follow_from_the_biases():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 60, generator=generator, dtype=torch.float64)
    mixing = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    sources = (images - images.mean(1, keepdim=True)) / images.std(1, correction=0, keepdim=True)
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)[:, None]
    assert torch.allclose(scaled(signs * sources, mixing @ images, mixing.sum(1)), images, atol=1e-10)
