"""Positions are found by name where they are tokens' own, and their distance is its equation with its gradient."""

import math

import pytest
import timm
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching import Distance, create_distance, programs
from gradinv.attacks.transformers.positions import NoPositionsError, PositionDistance, position_embeddings

SHAPES = [(3, 4), (1, 3, 2), (4,), (1, 2, 2)]
PLACES = (1, 3)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("test_vit", ["pos_embed"]),
        ("pit_ti_224", ["pos_embed"]),
        ("crossvit_tiny_240", ["pos_embed_0", "pos_embed_1"]),
        ("tnt_s_legacy_patch16_224", ["patch_pos", "pixel_pos"]),
        ("visformer_tiny", ["pos_embed1", "pos_embed2", "pos_embed3"]),
        ("test_vit_relpos", []),
        ("test_maxvit", []),
        ("xcit_nano_12_p8_224", []),
        ("test_resnet", []),
    ],
)
def test_absolute_positions_are_found_and_nothing_like_them(model: str, expected: list[str]) -> None:
    with torch.device("meta"):
        network = timm.create_model(model)
    if expected:
        assert sorted(position_embeddings(network.named_parameters())) == expected
    else:
        with pytest.raises(NoPositionsError, match="needs an absolute position embedding"):
            position_embeddings(network.named_parameters())


@pytest.mark.parametrize(
    "name", ["encoder.pos_embedding", "vit.embeddings.position_embeddings", "visual.positional_embedding"]
)
def test_other_libraries_names_are_known_too(name: str) -> None:
    assert position_embeddings([("head.weight", nn.Parameter(torch.ones(2))), (name, nn.Parameter(torch.ones(2)))]) == [
        name
    ]


def test_frozen_positions_are_not_sent() -> None:
    frozen = nn.Parameter(torch.ones(1, 5, 8), requires_grad=False)
    with pytest.raises(NoPositionsError, match="the position embedding pos_embed is frozen, and its gradient is not"):
        position_embeddings([("pos_embed", frozen)])


def lists(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def by_loop(kind: str, ours: list[Tensor], theirs: list[Tensor]) -> float:
    """One number after another, in plain Python."""
    pairs = [(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x.flatten(), y.flatten(), strict=True)]
    if kind == "squared_l2":
        return sum(float(a - b) ** 2 for a, b in pairs)
    along, length, other = (sum(float(x * y) for x, y in p) for p in (pairs, [(a, a) for a, _ in pairs],
                                                                      [(b, b) for _, b in pairs]))  # fmt: skip
    return 1 - along / math.sqrt(length * other)


@pytest.mark.parametrize("positions", ["cosine", "squared_l2"])
@pytest.mark.parametrize("everything", ["cosine", "squared_l2"])
def test_the_distance_is_its_equation_with_its_gradient(everything: str, positions: str) -> None:
    ours, theirs, step = lists(0), lists(1), lists(2)
    distance = PositionDistance(create_distance(everything, scale=3.0), create_distance(positions), 0.7, PLACES)
    prepared = distance.prepare(theirs)
    own = [[parts[place] for place in PLACES] for parts in (ours, theirs)]
    expected = 3 * (by_loop(everything, ours, theirs) + 0.7 * by_loop(positions, *own))
    result = distance.pullback(ours, prepared)
    assert float(result.value) == pytest.approx(expected, rel=1e-12)
    assert float(distance.value(ours, prepared)) == pytest.approx(expected, rel=1e-12)
    ends = [
        float(distance.value([g + sign * 1e-6 * s for g, s in zip(ours, step, strict=True)], prepared))
        for sign in (1, -1)
    ]
    slope = sum(float((c * s).sum()) for c, s in zip(result.cotangents, step, strict=True)) * float(result.factor)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("key", ["top[share=0.3]", "tag", "sapag", "l2"])
def test_any_distance_of_everything_does(key: str) -> None:
    ours, theirs = lists(0), lists(1)
    distance = PositionDistance(create_distance(key), create_distance("cosine"), 0.7, PLACES)
    result, slopes = distance.pullback(ours, distance.prepare(theirs)), lists(0)
    leaves = [slope.requires_grad_(True) for slope in slopes]
    wanted = torch.autograd.grad(distance.value(leaves, distance.prepare(theirs)), leaves)
    for cotangent, slope in zip(result.cotangents, wanted, strict=True):
        torch.testing.assert_close(result.factor * cotangent, slope)


def test_zero_gradients_have_a_finite_one() -> None:
    zeros = [torch.zeros(shape) for shape in SHAPES]
    distance = PositionDistance(create_distance("squared_l2"), create_distance("cosine"), 2.0, PLACES)
    result = distance.pullback(zeros, distance.prepare(zeros))
    assert float(result.value) == 2
    assert all(bool(torch.isfinite(result.factor * cotangent).all()) for cotangent in result.cotangents)


@pytest.mark.parametrize(
    ("everything", "positions", "needed"), [("cosine", "cosine", False), ("cosine", "squared_l2", True)]
)
def test_it_needs_a_length_where_one_of_its_parts_does(everything: str, positions: str, needed: bool) -> None:
    parts: list[Distance] = [create_distance(everything), create_distance(positions)]
    assert PositionDistance(*parts, 1.0, PLACES).needs_scale is needed


def test_programs_are_shared_by_equal_distances_alone() -> None:
    def named(everything: str, positions: str, weight: float, places: tuple[int, ...]) -> object:
        made = PositionDistance(create_distance(everything), create_distance(positions), weight, places)
        return programs._named(made)

    plain = ("squared_l2", "cosine", 1.0, (1,))
    assert named(*plain) == named(*plain)
    others = [("cosine", *plain[1:]), ("squared_l2", "squared_l2", 1.0, (1,)), (*plain[:2], 2.0, (1,)),
              (*plain[:3], (1, 3)), (*plain[:3], (2,))]  # fmt: skip
    assert len({named(*other) for other in [plain, *others]}) == 6
