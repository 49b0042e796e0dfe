"""Noise, clipping and pruning do exactly what they say; wrong keys are refused in one line."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradinv.benchmark.defenses import Defense, canonical_defense, create_defense
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError


@pytest.fixture
def gradients() -> dict[str, Tensor]:
    """Four tensors of several shapes, one of them a single number."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"conv": (6, 3, 3, 3), "bias": (6,), "scale": (), "fc": (11, 7)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def apply(key: str, gradients: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    return create_defense(key).on_update(gradients, torch.Generator().manual_seed(seed))


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.reshape(-1) for value in gradients.values()])


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (
            "gausian_noise",
            UnknownNameError,
            "unknown defense 'gausian_noise'; did you mean gaussian_noise",
        ),
        ("clipping[maxnorm=1]", InvalidEntryError, "did you mean max_norm?"),
        ("gaussian_noise[sigma=-1]", InvalidEntryError, "sigma=-1 is not valid"),
        ("pruning[ratio=1.1]", InvalidEntryError, "less than or equal to 1"),
        ("clipping[max_norm=0]", InvalidEntryError, "greater than 0"),
        ("none[sigma=1]", InvalidEntryError, "unknown parameter of defense 'none' 'sigma'"),
        ("clipping.strong", UnknownNameError, "unknown preset 'clipping.strong'; valid: none"),
    ],
)
def test_a_wrong_key_is_one_line_that_helps(key: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        create_defense(key)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_canonical_key_is_validated() -> None:
    assert str(canonical_defense("gaussian_noise[sigma=1e-2]")) == "gaussian_noise[sigma=0.01]"


@pytest.mark.parametrize("sigma", [0.01, 0.5])
def test_gaussian_noise_is_normal_with_deviation_sigma_in_every_tensor(sigma: float) -> None:
    gradients = {"first": torch.full((200, 50), 2.0), "second": torch.full((5_000,), -1.0)}
    sent = apply(f"gaussian_noise[sigma={sigma}]", gradients)
    noises = [(sent[name] - value).flatten().double().numpy() for name, value in gradients.items()]
    for noise in noises:
        assert stats.kstest(noise / sigma, "norm").pvalue > 1e-3
        assert abs(noise.std() / sigma - 1) < 4 / math.sqrt(2 * len(noise))
    assert abs(np.corrcoef(noises[0][:5_000], noises[1])[0, 1]) < 4 / math.sqrt(5_000)


def test_other_seeds_give_other_noise(gradients: dict[str, Tensor]) -> None:
    first, second = (flat(apply("gaussian_noise[sigma=0.5]", gradients, seed)) for seed in (0, 1))
    assert not torch.isclose(first, second).any()


@pytest.mark.parametrize("bound", [0.001, 1.0, 10.0])
def test_clipping_bounds_the_whole_norm_and_keeps_the_direction(gradients: dict[str, Tensor], bound: float) -> None:
    before, after = flat(gradients).double().numpy(), flat(apply(f"clipping[max_norm={bound}]", gradients)).numpy()
    length = np.linalg.norm(before)
    assert length > bound
    assert np.linalg.norm(after.astype("float64")) == pytest.approx(bound, rel=1e-6)
    np.testing.assert_allclose(after, before * (bound / length), rtol=1e-5)


def test_clipping_leaves_a_gradient_within_the_bound(gradients: dict[str, Tensor]) -> None:
    bound = float(np.linalg.norm(flat(gradients).double().numpy())) * 1.01
    assert torch.equal(flat(apply(f"clipping[max_norm={bound}]", gradients)), flat(gradients))
    zeros = {name: torch.zeros_like(value) for name, value in gradients.items()}
    assert not flat(apply("clipping[max_norm=0.1]", zeros)).any()


@pytest.mark.parametrize("ratio", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_pruning_zeroes_exactly_the_smallest(gradients: dict[str, Tensor], ratio: float) -> None:
    before, after = flat(gradients).numpy(), flat(apply(f"pruning[ratio={ratio}]", gradients)).numpy()
    count = math.floor(ratio * len(before))
    assert (after == 0).sum() == count
    smallest = np.sort(np.abs(before))[:count]
    np.testing.assert_array_equal(np.sort(np.abs(before[after == 0])), smallest)
    np.testing.assert_array_equal(after[after != 0], before[after != 0])


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
def test_pruning_takes_the_first_of_equal_entries(ratio: float) -> None:
    gradients = {"a": torch.tensor([[1.0, -1.0], [1.0, 2.0]]), "b": torch.tensor([-1.0, 1.0, 0.5, 1.0])}
    expected = flat(gradients).numpy().copy()
    expected[np.argsort(np.abs(expected), kind="stable")[: math.floor(ratio * 8)]] = 0
    np.testing.assert_array_equal(flat(apply(f"pruning[ratio={ratio}]", gradients)).numpy(), expected)


def test_noise_relative_to_the_norm_is_as_long_as_its_size_says() -> None:
    gradients = {"a": torch.randn(300, 100, generator=torch.Generator().manual_seed(0)), "b": torch.full((500,), 3.0)}
    length = flat(gradients).norm()
    for key, deviation in (("gaussian_noise[sigma=0.2", 1.0), ("laplace_noise[scale=0.2", math.sqrt(2))):
        noise = flat(apply(f"{key},relative=true]", gradients)) - flat(gradients)
        assert (noise.norm() / length).item() == pytest.approx(0.2 * deviation, rel=0.03)


def test_laplace_noise_has_the_law_of_scipy() -> None:
    gradients = {"first": torch.full((200, 50), 2.0), "second": torch.full((5_000,), -1.0)}
    sent = apply("laplace_noise[scale=0.05]", gradients)
    for name, value in gradients.items():
        noise = (sent[name] - value).flatten().double().numpy()
        assert stats.kstest(noise / 0.05, "laplace").pvalue > 1e-3
        assert noise.std() == pytest.approx(math.sqrt(2) * 0.05, rel=0.06)


def test_a_defense_of_ones_own_prints_itself() -> None:
    class Rounding(Defense):
        def __init__(self, *, digits: int = 3) -> None:
            self.digits = digits

        def apply(self, gradients: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            return {name: value.round(decimals=self.digits) for name, value in gradients.items()}

    make: Callable[..., Defense] = Rounding
    assert repr(make(digits=1)) == "Rounding[digits=1]"
