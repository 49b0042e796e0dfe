"""Gradient distances against closed forms; finite, with a finite gradient, everywhere."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.distances import CosineDistance, Distance, LayerwiseL2, SquaredL2, norm

SHAPES = [(4, 3, 2), (4,), (1,), ()]
ALL = [SquaredL2(), LayerwiseL2(0.5), CosineDistance()]
each_distance = pytest.mark.parametrize("distance", ALL, ids=lambda d: type(d).__name__)


def lists(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def flat(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([value.reshape(-1) for value in values])


def bound_to(distance: Distance, target: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
    """The distance to `target` as a function of gradients."""
    prepared = distance.prepare(target)
    return lambda gradients: distance.value(gradients, prepared)


class Plain(Distance):
    """A distance of one's own without a closed form: half the sum of fourth powers."""

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        return 0.5 * torch.stack([(g - t).pow(4).sum() for g, t in zip(gradients, prepared, strict=True)]).sum()


def test_squared_l2_is_the_square_of_the_whole_difference() -> None:
    expected = (flat(lists(0)) - flat(lists(1))).numpy()
    assert bound_to(SquaredL2(), lists(1))(lists(0)).item() == pytest.approx(float(expected @ expected), rel=1e-12)


def test_layerwise_l2_is_the_sum_of_norms_and_not_of_squares() -> None:
    expected = sum(
        sum(x**2 for x in (g - t).reshape(-1).tolist()) ** 0.5 for g, t in zip(lists(0), lists(1), strict=True)
    )
    result = bound_to(LayerwiseL2(0.5), lists(1))(lists(0)).item()
    assert result == pytest.approx(0.5 * expected, rel=1e-12)
    assert result != pytest.approx(0.5 * bound_to(SquaredL2(), lists(1))(lists(0)).item(), rel=1e-2)


def test_layerwise_l2_scales_linearly_and_squared_l2_quadratically() -> None:
    zeros = [torch.zeros_like(value) for value in lists(0)]
    doubled = [2 * value for value in lists(0)]
    for distance, factor in ((LayerwiseL2(), 2), (SquaredL2(), 4)):
        ratio = bound_to(distance, zeros)(doubled) / bound_to(distance, zeros)(lists(0))
        assert ratio.item() == pytest.approx(factor, rel=1e-12)


def test_cosine_equals_torch_over_the_concatenation() -> None:
    expected = 1 - torch.nn.functional.cosine_similarity(flat(lists(0)), flat(lists(1)), dim=0)
    torch.testing.assert_close(bound_to(CosineDistance(), lists(1))(lists(0)), expected, rtol=1e-12, atol=1e-12)


def test_cosine_does_not_depend_on_either_length() -> None:
    base = bound_to(CosineDistance(), lists(1))(lists(0))
    for left, right in ((1e-3, 1.0), (1.0, 1e4), (50.0, 0.02)):
        scaled = bound_to(CosineDistance(), [right * t for t in lists(1)])([left * g for g in lists(0)])
        torch.testing.assert_close(scaled, base, rtol=1e-10, atol=1e-12)


def test_cosine_of_equal_opposite_and_orthogonal_gradients() -> None:
    bound = bound_to(CosineDistance(), lists(1))
    assert bound(lists(1)).item() == pytest.approx(0, abs=1e-12)
    assert bound([-t for t in lists(1)]).item() == pytest.approx(2, abs=1e-12)
    plane = bound_to(CosineDistance(), [torch.tensor([1.0, 0.0])])
    assert plane([torch.tensor([0.0, 3.0])]).item() == 1.0


def test_cosine_of_a_zero_gradient_is_one_and_points_to_the_target() -> None:
    gradients = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    value = bound_to(CosineDistance(), lists(1))(gradients)
    slope = torch.autograd.grad(value, gradients)
    assert value.item() == 1.0
    torch.testing.assert_close(flat(list(slope)), -flat(lists(1)) / flat(lists(1)).norm())


@each_distance
def test_the_gradient_equals_a_finite_difference(distance: Distance) -> None:
    bound = bound_to(distance, lists(1))
    gradients = [g.requires_grad_(True) for g in lists(0)]
    slopes = torch.autograd.grad(bound(gradients), gradients)
    directions, step = lists(2), 1e-6
    with torch.no_grad():
        ahead, behind = (bound([g + s * d for g, d in zip(gradients, directions, strict=True)]) for s in (step, -step))
    torch.testing.assert_close(
        (flat(slopes) * flat(directions)).sum(), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8
    )


@each_distance
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("zero_gradient", "zero_target"), [(True, True), (True, False), (False, True), (False, False)])
def test_finite_with_a_finite_gradient_where_gradients_vanish_or_agree(
    distance: Distance, dtype: torch.dtype, zero_gradient: bool, zero_target: bool
) -> None:
    base = [value.to(dtype) for value in lists(0)]
    gradients = [(value * (not zero_gradient)).requires_grad_(True) for value in base]
    value = bound_to(distance, [value * (not zero_target) for value in base])(gradients)
    slopes = torch.autograd.grad(value, gradients)
    assert torch.isfinite(value)
    assert all(torch.isfinite(slope).all() for slope in slopes)


@each_distance
def test_one_silent_layer_does_no_harm(distance: Distance) -> None:
    """A layer without any gradient, on both sides, is common: dead units, a bias before a batch norm."""
    gradients = [value.requires_grad_(True) for value in (torch.zeros(3), torch.tensor([1.0, 2.0]))]
    value = bound_to(distance, [torch.zeros(3), torch.tensor([2.0, 2.0])])(gradients)
    assert all(torch.isfinite(slope).all() for slope in torch.autograd.grad(value, gradients))


@pytest.mark.parametrize("distance", [*ALL, CosineDistance(0.3), Plain()], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize(("zero_gradient", "zero_target"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_closed_form_of_the_gradient_is_that_of_autograd(
    distance: Distance, zero_gradient: bool, zero_target: bool
) -> None:
    gradients = [(value * (not zero_gradient)).requires_grad_(True) for value in lists(0)]
    prepared = distance.prepare([value * (not zero_target) for value in lists(1)])
    value = distance.value(gradients, prepared)
    slopes = torch.autograd.grad(value, gradients)
    result = distance.pullback([gradient.detach() for gradient in gradients], prepared)
    torch.testing.assert_close(result.value, value.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.factor * flat(result.cotangents), flat(slopes), rtol=1e-12, atol=1e-12)


def test_norm_equals_a_plain_loop() -> None:
    values = lists(0)[0]
    assert norm(values).item() == pytest.approx(sum(a * a for a in values.reshape(-1).tolist()) ** 0.5, rel=1e-12)


@each_distance
def test_tensors_of_other_shapes_are_refused_and_never_broadcast(distance: Distance) -> None:
    observed = distance.prepare([torch.ones(12, 1, 5, 5)])
    with pytest.raises(
        ValueError, match=r"gradient 0 has the shape \(12, 3, 5, 5\) and the observed one \(12, 1, 5, 5\)"
    ):
        distance.value([torch.ones(12, 3, 5, 5)], observed)
