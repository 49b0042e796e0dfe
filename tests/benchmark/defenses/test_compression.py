"""Pruning by layer, top-k, signs and quantization against counts, NumPy and the bounds of the papers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gradinv.benchmark.defenses import create_defense


def sent(key: str, update: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    return create_defense(key).on_update(update, torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9])
def test_pruning_per_layer_counts_in_every_tensor(ratio: float) -> None:
    update = {"large": 100 * normal(40, 5), "small": normal(31, seed=1), "one": torch.tensor(2.0)}
    kept = sent(f"pruning[per_layer=true,ratio={ratio}]", update)
    for name, value in update.items():
        zeros = math.floor(ratio * value.numel())
        assert (kept[name] == 0).sum() == zeros
        magnitudes = np.sort(np.abs(value.numpy().ravel()))
        np.testing.assert_array_equal(np.sort(np.abs(kept[name].numpy().ravel()))[zeros:], magnitudes[zeros:])
    # Over all tensors together the small one is lost as a whole, which is what `per_layer` is for.
    assert not sent("pruning[ratio=0.5]", update)["small"].any()


@pytest.mark.parametrize("k", [1, 2, 7, 100, 109])
def test_top_k_keeps_exactly_k_and_the_largest(k: int) -> None:
    update = {"a": normal(20, 5), "b": normal(10, seed=1)}
    before = torch.cat([value.flatten() for value in update.values()]).numpy()
    after = torch.cat([value.flatten() for value in sent(f"top_k[k={k}]", update).values()]).numpy()
    assert (after != 0).sum() == k
    np.testing.assert_array_equal(after[after != 0], before[after != 0])
    assert np.abs(after[after != 0]).min() >= np.abs(before[after == 0]).max()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0, -3.0, 1.0, 2.0, 0.5], [3.0, -3.0, 0, 0, 0]), ([3.0, -3.0, -3.0, 1.0], [3.0, -3.0, 0, 0])],
)
def test_top_k_with_ties_keeps_the_first(values: list[float], expected: list[float]) -> None:
    # A strict threshold keeps none of the first list, `>=` three of the second.
    assert sent("top_k[k=2]", {"a": torch.tensor(values)})["a"].tolist() == expected


def test_top_k_of_fewer_entries_keeps_all() -> None:
    update = {"a": normal(4)}
    assert torch.equal(sent("top_k[k=5]", update)["a"], update["a"])


def test_the_sign_of_zero_is_zero() -> None:
    assert sent("sign[size=0.5]", {"a": torch.tensor([3.0, 0.0, -1e-20])})["a"].tolist() == [0.5, 0.0, -0.5]


@pytest.mark.parametrize("levels", [1, 4, 16])
def test_qsgd_is_unbiased_and_keeps_the_bound_of_its_variance(levels: int) -> None:
    value = normal(1_000)
    draws = 2_000
    many = {str(index): value for index in range(draws)}
    rounded = torch.stack(list(sent(f"quantization[levels={levels}]", many).values())).double()
    share = (value.abs() / value.norm() * levels).double()
    # Only of entries with enough draws on either side is the mean normal.
    rate = share.frac()
    enough = (rate * draws > 50) & ((1 - rate) * draws > 50)
    error = (rounded.mean(0) - value.double()) / (rounded.std(0) / math.sqrt(draws))
    assert enough.sum() > 300
    assert error[enough].abs().max() < 5
    assert error[enough].pow(2).mean().item() == pytest.approx(1, abs=0.25)
    variance = (rounded - value.double()).pow(2).sum(1).mean() / value.double().norm() ** 2
    assert 0 < variance <= min(1_000 / levels**2, math.sqrt(1_000) / levels)
    nonzero = (rounded != 0).sum(1).double().mean()
    assert nonzero <= levels * (levels + math.sqrt(1_000))


def test_qsgd_sends_multiples_of_the_l2_norm() -> None:
    value = normal(500)
    steps = sent("quantization[levels=4]", {"a": value})["a"] / value.norm() * 4
    torch.testing.assert_close(steps, steps.round())
    assert (steps.sign() * value.sign() >= 0).all()


@pytest.mark.parametrize("levels", [1, 7, 127])
def test_the_nearest_level_is_numpy_s(levels: int) -> None:
    value = normal(300)
    grid = np.linspace(-1, 1, 2 * levels + 1) * np.abs(value.numpy()).max()
    nearest = grid[np.abs(value.numpy()[:, None] - grid).argmin(1)]
    rounded = sent(f"quantization[levels={levels},rounding=nearest]", {"a": value})["a"].numpy()
    np.testing.assert_allclose(rounded, nearest, rtol=1e-5, atol=1e-6)


def test_a_tensor_of_zeros_stays_one() -> None:
    zeros = {"a": torch.zeros(5)}
    for key in ("quantization", "quantization[rounding=nearest]", "sign", "top_k[k=2]"):
        assert not sent(key, zeros)["a"].any()


def test_uploads_are_what_the_codes_take() -> None:
    update = {"a": normal(100, 10), "b": normal(24)}
    sizes = {
        key: create_defense(key).upload_bytes(sent(key, update))
        for key in ("none", "top_k[k=10]", "sign", "quantization[levels=127,rounding=nearest]", "pruning[ratio=0.1]")
    }
    assert sizes["none"] == sizes["pruning[ratio=0.1]"] == 4 * 1024
    assert sizes["top_k[k=10]"] == 10 * 8
    assert sizes["sign"] == pytest.approx(1024 * math.log2(3) / 8)
    assert sizes["quantization[levels=127,rounding=nearest]"] == 1024 + 2 * 4
