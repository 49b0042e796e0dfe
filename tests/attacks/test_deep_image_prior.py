"""An untrained generator as prior: the images are what its weights make of codes that stay where they are."""

from collections.abc import Callable

import pytest
import torch

from gradinv.attacks.deep_image_prior import CODE, DeepImagePrior, layer_shapes
from gradinv.attacks.gradient_matching.descent import Descent


@pytest.fixture
def descents(monkeypatch: pytest.MonkeyPatch) -> list[Descent]:
    made: list[Descent] = []
    descend = Descent.descend
    monkeypatch.setattr(Descent, "descend", lambda self, *rest: (made.append(self), descend(self, *rest))[1])
    return made


def test_weights_move_and_codes_and_the_pixel_range_do_not(case: Callable, descents: list[Descent]) -> None:
    leak, victim = case()
    attack = DeepImagePrior(width=4)
    result = attack.reconstruct(leak, victim, seed=2, budget=5)
    start, end = attack.start(leak, victim, 2), [tensor[0] for tensor in descents[0].variables.tensors]
    moved = [not torch.equal(before, after) for before, after in zip(start, end, strict=True)]
    assert moved == [True] * (len(start) - 3) + [False] * 3
    means, stds = (torch.tensor(values).view(1, 3, 1, 1) for values in (leak.mean, leak.std))
    pixels = result.images * stds + means
    assert pixels.min() > 0
    assert pixels.max() < 1


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 9, 14), (3, 4, 4), (3, 3, 3), (3, 32, 32)])
def test_images_of_any_shape_come_out(image_shape: tuple[int, int, int]) -> None:
    shapes = layer_shapes(image_shape, 4)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(1, *shape, generator=generator) for shape in shapes]
    ends = [torch.full((1, *image_shape), value) for value in (-1.0, 2.0)]
    codes = torch.randn(1, 2, CODE, generator=generator)
    images = DeepImagePrior(width=4).images([*weights, codes, *ends])
    assert images.shape == (1, 2, *image_shape)
    assert not torch.equal(images[0, 0], images[0, 1])
    alone = DeepImagePrior(width=4).images([*weights, codes[:, :1], *ends])
    torch.testing.assert_close(alone[0, 0], images[0, 0])


def test_the_gradient_of_the_weights_is_that_of_finite_differences() -> None:
    shapes = layer_shapes((1, 6, 6), 2)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(1, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    codes = torch.randn(1, 1, CODE, generator=generator, dtype=torch.float64)
    fixed = [codes, torch.zeros(1, 1, 6, 6, dtype=torch.float64), torch.ones(1, 1, 6, 6, dtype=torch.float64)]
    leaves = [weight.requires_grad_(True) for weight in weights[1:]]
    assert torch.autograd.gradcheck(
        lambda *parts: DeepImagePrior(width=2).images([weights[0].detach(), *parts, *fixed]), leaves
    )
