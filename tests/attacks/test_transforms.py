"""What an adaptive attacker applies: equal to the defense on the true update, finite at zero, named by key."""

import pytest
import torch

from gradinv.attacks.transforms import create_transform
from gradinv.benchmark.defenses import create_defense
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in (("a", (4, 3)), ("b", (5,)))}


@pytest.mark.parametrize(
    "defense",
    [
        "clipping[max_norm=0.5]",
        "clipping[max_norm=100]",
        "pruning[ratio=0.6]",
        "top_k[k=3]",
        "quantization[levels=7,rounding=nearest]",
    ],
)
def test_the_true_update_becomes_what_was_observed(defense):
    chosen, update = create_defense(defense), tensors()
    observed = chosen.on_update(dict(update), torch.Generator())
    transformed = create_transform(chosen.known())(list(update.values()), list(observed.values()))
    for value, expected in zip(transformed, observed.values(), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("key", ["clipped[max_norm=0.5]", "masked", "signed[size=0.5]", "masked+signed"])
@pytest.mark.parametrize("size", [0.0, 1.0])
def test_the_slope_is_finite_and_that_of_a_finite_difference(key, size):
    transform, observed = create_transform(key), list(tensors(1).values())
    candidate = [size * value.double() for value in tensors().values()]
    direction = [value.double() for value in tensors(2).values()]

    def total(values):
        return sum((value * weight).sum() for value, weight in zip(transform(values, observed), direction, strict=True))

    leaves = [value.requires_grad_() for value in candidate]
    slopes = torch.autograd.grad(total(leaves), leaves)
    assert all(slope.isfinite().all() for slope in slopes)
    if size == 0 and "signed" in key:
        return  # at zero the sign has no slope, only a finite one that stands for it
    step = 1e-6
    ahead, behind = (
        total([value.detach() + sign * step * d for value, d in zip(candidate, direction, strict=True)])
        for sign in (1, -1)
    )
    exact = sum((slope * d).sum() for slope, d in zip(slopes, direction, strict=True))
    torch.testing.assert_close(exact, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("norm", ["l2", "max"])
def test_the_gradient_goes_straight_through_the_quantizer(norm):
    transform = create_transform(f"quantized[levels=3,norm={norm}]")
    leaves = [value.requires_grad_() for value in tensors().values()]
    rounded = transform(leaves, [])
    weights = list(tensors(2).values())
    slopes = torch.autograd.grad(sum((r * w).sum() for r, w in zip(rounded, weights, strict=True)), leaves)
    for slope, weight, value, leaf in zip(slopes, weights, rounded, leaves, strict=True):
        assert torch.equal(slope, weight)
        assert not torch.allclose(value, leaf)


def test_ignored_layers_are_zero_on_both_sides_and_must_exist():
    update = list(tensors().values())
    transform = create_transform("ignored[part=head]").bound(["body.weight", "fc.head.weight"])
    assert torch.equal(transform(update, update)[0], update[0])
    assert not transform(update, update)[1].any()
    assert not transform.compared(update)[1].any()
    with pytest.raises(InvalidEntryError, match="no layer of that name"):
        create_transform("ignored[part=tail]+masked").bound(["body.weight", "fc.head.weight"])


@pytest.mark.parametrize("share", ["image", "batch"])
def test_images_and_labels_are_mixed_by_rows_that_sum_to_one(share):
    images = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = create_transform(f"mixed[share={share}]").seen(images, torch.eye(3, dtype=torch.float64), [logits])
    shares = seen.labels  # of the unit matrix
    torch.testing.assert_close(shares.sum(1), torch.ones(3, dtype=torch.float64))
    assert (shares > 0).all()
    assert (shares.diagonal().max() - shares.diagonal().min() < 1e-12) == (share == "batch")
    for row, mixture in zip(shares, seen.images, strict=True):
        torch.testing.assert_close(mixture, sum(share * image for share, image in zip(row, images, strict=True)))


def test_parts_take_their_own_secrets_in_their_order():
    both = create_transform("mixed+mixed[share=batch]+clipped")
    images, labels = torch.randn(2, 3, 4, 4), torch.eye(2)
    secrets = [torch.randn(2, 2), torch.randn(2, 2)]
    first = create_transform("mixed").seen(images, labels, secrets[:1])
    second = create_transform("mixed[share=batch]").seen(first.images, first.labels, secrets[1:])
    seen = both.seen(images, labels, secrets)
    assert both.secrets == 2
    assert torch.equal(seen.images, second.images)
    assert torch.equal(seen.labels, second.labels)


def test_wrong_keys_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean clipped"):
        create_transform("clip")
    with pytest.raises(InvalidEntryError):
        create_transform("clipped[max_norm=-1]")
