"""Published distances are their equations, finite with finite gradients everywhere, and have the gradient they say."""

import math
import re

import numpy as np
import pytest
import torch

from gradinv.attacks.gradient_matching import DISTANCES, SapagDistance, TagDistance, TopEntries, create_distance
from gradinv.metrics.registry import RequestError


def lists(seed=0):
    """Two lists of three tensors, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (4,), (2, 2)]
    return [[torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes] for _ in range(2)]


def tag(ours, theirs):
    return sum(
        ((a - b) ** 2).sum() + 0.1 * (len(ours) - place) / len(ours) * np.abs(a - b).sum()
        for place, (a, b) in enumerate(zip(ours, theirs, strict=True))
    )


def sapag(ours, theirs):
    return sum(1 - math.exp(-((a - b) ** 2).sum() / (b**2).sum()) for a, b in zip(ours, theirs, strict=True))


def top(ours, theirs):
    """A third of 20 entries, by a plain sort."""
    a, b = (np.concatenate([part.ravel() for part in parts]) for parts in (ours, theirs))
    chosen = np.argsort(-np.abs(b))[:7]
    return ((a - b)[chosen] ** 2).sum()


CASES = [(TagDistance(share=0.1), tag), (SapagDistance(), sapag), (TopEntries(share=0.35), top)]


@pytest.mark.parametrize(("distance", "equation"), CASES, ids=["tag", "sapag", "top"])
def test_it_is_its_equation_with_its_gradient(distance, equation):
    ours, theirs = lists()
    prepared = distance.prepare(theirs)
    result = distance.pullback(ours, prepared)
    expected = equation([t.numpy() for t in ours], [t.numpy() for t in theirs])
    assert float(result.value) == pytest.approx(expected, rel=1e-12)
    step = lists(1)[0]
    ends = [
        float(distance.value([g + sign * 1e-6 * s for g, s in zip(ours, step, strict=True)], prepared))
        for sign in (1, -1)
    ]
    slope = sum(float((c * s).sum()) for c, s in zip(result.cotangents, step, strict=True)) * float(result.factor)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("distance", [case[0] for case in CASES], ids=["tag", "sapag", "top"])
def test_zeros_are_at_no_distance_and_have_a_finite_gradient(distance):
    zeros = [torch.zeros(3), torch.zeros(2)]
    result = distance.pullback(zeros, distance.prepare(zeros))
    assert float(result.value) == 0
    assert all(bool(torch.isfinite(cotangent).all()) for cotangent in result.cotangents)


def test_what_is_not_compared_has_no_part():
    ours, theirs = lists()
    distance = TopEntries(share=0.1)
    prepared = distance.prepare(theirs)
    masks = [t.isnan() for t in prepared]
    assert sum(int((~mask).sum()) for mask in masks) == 2
    moved = [torch.where(mask, g + 100, g) for g, mask in zip(ours, masks, strict=True)]
    assert torch.equal(distance.value(moved, prepared), distance.value(ours, prepared))


@pytest.mark.parametrize("name", DISTANCES.names())
def test_a_key_makes_the_distance_at_its_scale(name):
    ours, theirs = lists()
    plain, scaled = create_distance(name), create_distance(name, scale=3.0)
    prepared = plain.prepare(theirs)
    single, triple = plain.pullback(ours, prepared), scaled.pullback(ours, prepared)
    assert float(triple.value) == pytest.approx(3 * float(single.value), rel=1e-12)
    assert float(scaled.value(ours, prepared)) == pytest.approx(3 * float(plain.value(ours, prepared)), rel=1e-12)
    for first, second in zip(single.cotangents, triple.cotangents, strict=True):
        torch.testing.assert_close(triple.factor * second, 3 * single.factor * first, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("key", "message"),
    [("cosin", "did you mean cosine"), ("top[share=2]", "share=2 is not valid"), ("tag.x", "unknown distance 'tag.x'")],
)
def test_a_wrong_key_is_one_line(key, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        create_distance(key)
