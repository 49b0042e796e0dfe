"""Defenses do exactly what they say, change no input, and nothing at all at their neutral parameter."""

import inspect
import math
from collections.abc import Callable
from typing import get_type_hints

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradinv.benchmark.defenses import DEFENSES, Defense, canonical_defense, create_defense
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError

NAMES = DEFENSES.names()
STRONG = ["none", "gaussian_noise[sigma=0.5]", "clipping[max_norm=0.1]", "pruning[ratio=0.5]"]
NEUTRAL = ["none", "gaussian_noise[sigma=0]", "clipping[max_norm=inf]", "clipping[max_norm=1e9]", "pruning[ratio=0]"]


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


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_is_cited_and_the_class_has_words(name: str) -> None:
    entry = DEFENSES.get(name)
    paper = entry.metadata["paper"]
    assert issubclass(entry.target, Defense)
    assert entry.target.__doc__
    if name != "none":
        assert all([paper.title, paper.authors, paper.venue, paper.url.startswith("https://")])
        assert 2010 <= paper.year <= 2035


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_typed_keyword_only_and_printed(name: str) -> None:
    target = DEFENSES.get(name).target
    function = target.__init__
    names = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "args", "kwargs")]
    hints = get_type_hints(function) if names else {}
    assert all(p.kind is p.KEYWORD_ONLY and p.name in hints and p.default is not p.empty for p in names)
    inner = ",".join(sorted(f"{p.name}={p.default}" for p in names))
    assert repr(create_defense(name)) == target.__name__ + (f"[{inner}]" if inner else "")


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("gausian_noise", UnknownNameError, "unknown defense 'gausian_noise'; did you mean gaussian_noise?"),
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


@pytest.mark.parametrize("key", NEUTRAL)
def test_neutral_parameters_keep_every_bit(gradients: dict[str, Tensor], key: str) -> None:
    sent = apply(key, gradients)
    assert list(sent) == list(gradients)
    assert all(torch.equal(sent[name], value) for name, value in gradients.items())


@pytest.mark.parametrize("key", STRONG)
def test_the_input_stays_and_shapes_and_names_too(gradients: dict[str, Tensor], key: str) -> None:
    before = {name: value.clone() for name, value in gradients.items()}
    sent = apply(key, gradients)
    assert all(torch.equal(before[name], value) for name, value in gradients.items())
    assert [(n, v.shape, v.dtype) for n, v in sent.items()] == [(n, v.shape, v.dtype) for n, v in gradients.items()]
    if key != "none":
        assert not torch.equal(flat(sent), flat(gradients))


@pytest.mark.parametrize("key", STRONG)
def test_equal_seeds_send_equal_bits(gradients: dict[str, Tensor], key: str) -> None:
    assert torch.equal(flat(apply(key, gradients, 3)), flat(apply(key, gradients, 3)))


def test_every_defense_is_tested_at_a_neutral_and_at_a_strong_parameter() -> None:
    assert {key.split("[")[0] for key in STRONG} == {key.split("[")[0] for key in NEUTRAL} == set(NAMES)


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


def test_a_defense_of_ones_own_prints_itself() -> None:
    class Rounding(Defense):
        def __init__(self, *, digits: int = 3) -> None:
            self.digits = digits

        def apply(self, gradients: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            return {name: value.round(decimals=self.digits) for name, value in gradients.items()}

    make: Callable[..., Defense] = Rounding
    assert repr(make(digits=1)) == "Rounding[digits=1]"
