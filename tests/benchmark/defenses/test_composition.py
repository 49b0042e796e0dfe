"""Several defenses in a stated order, under one key."""

import pytest
import torch
from torch import Tensor

from gradinv.attacks.transforms import create_transform
from gradinv.benchmark.defenses import canonical_defense, create_defense
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError


@pytest.fixture
def update() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(30, 20, generator=generator), "b": torch.randn(50, generator=generator)}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_each_part_defends_what_the_ones_before_it_left(update: dict[str, Tensor]) -> None:
    first, second = create_defense("clipping[max_norm=0.5]"), create_defense("gaussian_noise[sigma=0.01]")
    by_hand = second.on_update(first.on_update(update, generator()), generator())
    sent = create_defense("clipping[max_norm=0.5]+gaussian_noise[sigma=0.01]").on_update(update, generator())
    assert all(torch.equal(sent[name], by_hand[name]) for name in update)
    other_way = create_defense("gaussian_noise[sigma=0.01]+clipping[max_norm=0.5]").on_update(update, generator())
    assert not torch.equal(other_way["a"], sent["a"])


def test_it_declares_what_its_parts_declare() -> None:
    defense = create_defense("clipping[max_norm=0.5]+gaussian_noise[sigma=0.01]+pruning[ratio=0.5]")
    assert defense.randomises
    assert not defense.changes_model
    assert defense.acts == ("update",)
    assert defense.known() == "clipped[max_norm=0.5]+masked"
    assert repr(defense).startswith("Clipping[max_norm=0.5]+GaussianNoise[")


def test_the_attacker_applies_the_transforms_in_the_same_order(update: dict[str, Tensor]) -> None:
    defense = create_defense("pruning[ratio=0.5]+clipping[max_norm=0.5]")
    observed = list(defense.on_update(update, generator()).values())
    candidate = create_transform(defense.known())(list(update.values()), observed)
    for value, expected in zip(candidate, observed, strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("mask", ["pruning[ratio=0.5]", "top_k[k=10]", "soteria[ratio=0.5]", "outpost"])
def test_a_mask_that_a_later_defense_fills_is_not_gone_by_and_it_says_why(mask: str) -> None:
    assert create_defense(f"gaussian_noise[sigma=0.1]+{mask}+clipping").known() == "masked+clipped[max_norm=1.0]"
    filled = create_defense(f"{mask}+clipping+gaussian_noise[sigma=0.1]")
    assert filled.known() == "clipped[max_norm=1.0]"
    assert "shows as zeros, and GaussianNoise fills them" in filled.unanswered


def test_what_is_left_out_counts_in_the_norm_that_is_clipped() -> None:
    left_out = "ignored[part=bottleneck]+ignored[part=head]"
    for key in ("precode+clipping[max_norm=0.5]", "clipping[max_norm=0.5]+precode"):
        assert create_defense(key).known().split("+")[-2:] == left_out.split("+")


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("clipping+none", InvalidEntryError, "none is no part of a combination"),
        ("clipping+gausian_noise", UnknownNameError, "did you mean gaussian_noise"),
        ("clipping+", InvalidEntryError, "'' is no key"),
        ("clipping[max_norm=0]+pruning", InvalidEntryError, "greater than 0"),
    ],
)
def test_a_wrong_combination_is_one_line_that_helps(key: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        canonical_defense(key)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
