"""A pyramid in the place of pixels: what it adds up to, that it stays in range and to itself."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching.descent import Descent
from gradinv.attacks.gradient_matching.parametrisations import pyramid_images, pyramid_start
from gradinv.attacks.inverting_gradients import InvertingGradients
from gradinv.attacks.registry import create_attack
from gradinv.metrics.registry import RequestError


def parts(shape: tuple[int, int, int, int], levels: int) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    start = pyramid_start(torch.randn(shape, generator=generator, dtype=torch.float64), levels, generator)
    darkest, brightest = (torch.full(shape[1:], end, dtype=torch.float64) for end in (-2.0, 3.0))
    return start, darkest, brightest


def test_it_adds_up_enlarged_levels_inside_a_sigmoid() -> None:
    levels, darkest, brightest = parts((2, 3, 16, 24), 3)
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6)]
    enlarged = [nn.Upsample(scale_factor=2.0**k, mode="bilinear")(level) for k, level in enumerate(levels)]
    expected = -2 + 5 / (1 + torch.exp(-torch.stack(enlarged).sum(0)))
    torch.testing.assert_close(pyramid_images(levels, darkest, brightest), expected)


@pytest.mark.parametrize("shape", [(1, 1, 9, 14), (2, 3, 3, 3), (1, 3, 1, 5)])
def test_images_of_any_size_come_out(shape: tuple[int, int, int, int]) -> None:
    levels, darkest, brightest = parts(shape, 5)
    assert pyramid_images(levels, darkest, brightest).shape == shape


def test_its_gradient_is_that_of_finite_differences() -> None:
    levels, darkest, brightest = parts((1, 2, 6, 5), 3)
    leaves = [level.requires_grad_(True) for level in levels]
    assert torch.autograd.gradcheck(lambda *given: pyramid_images(given, darkest, brightest), leaves)


def test_every_level_moves_the_ends_do_not_and_pixels_stay_in_range(
    case: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Descent] = []
    descend = Descent.descend
    monkeypatch.setattr(Descent, "descend", lambda self, *rest: (made.append(self), descend(self, *rest))[1])
    leak, victim = case()
    attack = InvertingGradients(levels=3)
    result = attack.reconstruct(leak, victim, seed=2, budget=5)
    start, end = attack.start(leak, victim, 2), [tensor[0] for tensor in made[0].variables.tensors]
    moved = [not torch.equal(before, after) for before, after in zip(start, end, strict=True)]
    assert moved == [True] * 3 + [False] * 2
    means, stds = (torch.tensor(values).view(1, 3, 1, 1) for values in (leak.mean, leak.std))
    pixels = result.images * stds + means
    assert 0 < pixels.min() < pixels.max() < 1


def test_what_says_when_levels_move_needs_levels() -> None:
    with pytest.raises(RequestError, match=r"coarse_first=0.5 says when the levels of a pyramid move"):
        create_attack("gradinversion.no_bn[coarse_first=0.5]")


@pytest.mark.parametrize(
    "key",
    [
        "inverting_gradients[levels=3]",
        "gradinversion.lazy_group[agents=2,levels=3]",
        "gradinversion.lazy_group[agents=2,coarse_first=0.5,levels=3]",
    ],
)
def test_company_changes_no_bit(key: str, case: Callable) -> None:
    leak, victim = case(statistics="exact")
    other = replace(leak, gradients={name: -value for name, value in leak.gradients.items()})
    attack = create_attack(key)
    alone = attack.reconstruct(leak, victim, seed=3, budget=12)
    _, beside = attack.reconstruct_together([other, leak], victim, seeds=[4, 3], budget=12)
    assert torch.equal(alone.images, beside.images)
    assert alone.curve == beside.curve
