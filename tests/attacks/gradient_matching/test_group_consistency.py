"""The consensus of agents: who takes part, in which order, and what is reported of it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching import group_consistency as module
from gradinv.attacks.gradient_matching.group_consistency import (
    GroupBond,
    GroupConsistency,
    distance_to,
    find_consensus,
    slot_orders,
)
from gradinv.metrics.registration.alignment import Alignment

GROUP = GroupConsistency(agents=3, weight=0.5, consensus="lazy", start=0.25, every=0.005)
LABELS = torch.tensor([5, 6])


def bond_at(consensus: Tensor) -> GroupBond:
    """A bond whose targets are these: a lazy group that looked at agents which all stand there."""
    bond = replace(GROUP, agents=len(consensus)).bond(10, torch.arange(consensus.shape[1]))
    bond.renew(consensus, [0.0] * len(consensus))
    return bond


def smooth(count: int, size: int = 32) -> Tensor:
    """Different smooth colour pictures with texture in all directions, (count, 3, size, size)."""
    coarse = torch.rand(count, 3, 7, 7, generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def shifted(images: Tensor, pixels: int) -> Tensor:
    """The same scene through a window that many pixels further right; the pictures are cut from larger ones."""
    return images[..., 4:-4, 4 + pixels : images.shape[-1] - 4 + pixels]


def test_the_distance_is_the_mean_of_the_images_and_grows_with_none_of_them() -> None:
    images, consensus = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    expected = sum(float((images[i] - consensus[i]).square().sum()) ** 0.5 for i in range(3)) / 3
    distances = distance_to(torch.stack([consensus, consensus]), torch.stack([images, consensus]))
    assert distances.tolist() == pytest.approx([expected, 0.0])
    twice = distance_to(consensus.repeat(2, 1, 1, 1)[None], images.repeat(2, 1, 1, 1)[None])
    assert float(twice) == pytest.approx(expected)


def test_before_the_first_consensus_nothing_pulls() -> None:
    bond = GROUP.bond(10, LABELS)
    assert bond.penalty(torch.ones(3, 2, 1, 3, 3)) is None
    assert bond.pull(torch.ones(3, 2, 1, 3, 3)) is None


def test_the_pull_has_a_finite_gradient_at_the_consensus() -> None:
    images = torch.ones(3, 2, 1, 3, 3)
    penalties, slopes = bond_at(images).pull(images.clone())
    assert penalties.tolist() == [0.0] * 3
    assert torch.equal(slopes, torch.zeros_like(images))


def test_the_pull_is_the_slope_of_the_weighted_distance_agent_by_agent() -> None:
    agents, direction, consensus = torch.randn(3, 4, 2, 1, 3, 3, dtype=torch.float64)
    consensus = consensus[:1].expand(4, -1, -1, -1, -1)
    bond = bond_at(consensus)
    penalties, slopes = bond.pull(agents)
    torch.testing.assert_close(penalties, 0.5 * distance_to(consensus, agents))
    ahead, behind = (0.5 * distance_to(consensus, agents + step * direction) for step in (1e-6, -1e-6))
    torch.testing.assert_close(
        (slopes * direction).flatten(1).sum(dim=1), (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(
    ("start", "every", "steps", "due"),
    [
        (0.25, 0.005, 20_000, list(range(5_000, 20_000, 100))),  # the paper's
        (0.5, 0.2, 10, [5, 7, 9]),
        (0.0, 0.001, 4, [0, 1, 2, 3]),
        (0.99, 1.0, 10, [9]),
    ],
)
def test_the_consensus_is_due_from_the_start_on_and_then_regularly(
    start: float, every: float, steps: int, due: list[int]
) -> None:
    group = replace(GROUP, start=start, every=every)
    assert [step for step in range(steps) if group.bond(steps, LABELS).is_due(step)] == due
    assert group.select_from(steps) == due[0]
    for idle in (replace(group, weight=0.0), replace(group, agents=1)):
        assert not any(idle.bond(steps, LABELS).is_due(step) for step in range(steps))
        assert idle.select_from(steps) == due[0]


def test_a_lazy_consensus_is_the_plain_mean_and_the_spread_the_standard_deviation() -> None:
    agents = torch.randn(3, 2, 3, 8, 8)
    result = find_consensus("lazy", agents, LABELS, reference=1)
    torch.testing.assert_close(result.images, agents.mean(0))
    torch.testing.assert_close(result.spread, agents.std(0, correction=0))
    torch.testing.assert_close(result.targets, agents.mean(0).expand_as(agents))
    assert not result.alignments


def test_registration_brings_shifted_agents_together_where_the_mean_blurs_them() -> None:
    scene = smooth(2, size=40)
    agents = torch.stack([shifted(scene, pixels) for pixels in (-2, 0, 2)])
    labels = torch.tensor([0, 1])
    lazy, registered = (find_consensus(kind, agents, labels, 0) for kind in ("lazy", "registered"))

    def error(consensus: Tensor) -> float:
        return float((consensus - agents[1])[..., 4:-4, 4:-4].square().mean())

    assert error(registered.images) < 0.1 * error(lazy.images)
    assert registered.spread.mean() < 0.3 * lazy.spread.mean()
    assert registered.alignments == {"accepted": 6}


def test_a_rejected_registration_leaves_the_image_in_the_mean_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(moving: Tensor, fixed: Tensor) -> Alignment:
        everywhere = torch.ones(len(moving), 1, *moving.shape[2:], dtype=torch.bool)
        no = torch.zeros(len(moving), dtype=torch.bool)
        return Alignment(moving, torch.eye(3).repeat(len(moving), 1, 1), everywhere, no, ("overlap",) * len(moving))

    monkeypatch.setattr(module, "align", reject)
    agents = torch.randn(3, 2, 3, 8, 8)
    result = find_consensus("registered", agents, LABELS, reference=0)
    torch.testing.assert_close(result.images, agents.mean(0))
    assert result.alignments == {"overlap": 6}


def test_pixels_that_an_agent_does_not_cover_are_averaged_over_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(moving: Tensor, fixed: Tensor) -> Alignment:
        coverage = torch.ones(len(moving), 1, *moving.shape[2:], dtype=torch.bool)
        coverage[0, :, :, :4] = False  # agent 0
        coverage[:, :, 0, 0] = False  # nobody
        yes = torch.ones(len(moving), dtype=torch.bool)
        return Alignment(moving, torch.eye(3).repeat(len(moving), 1, 1), coverage, yes, ("",) * len(moving))

    monkeypatch.setattr(module, "align", half)
    agents = torch.randn(3, 1, 3, 8, 8)
    result = find_consensus("registered", agents, torch.tensor([5]), reference=0).images[0]
    torch.testing.assert_close(result[:, 1:, :4], agents[1:, 0].mean(0)[:, 1:, :4])
    torch.testing.assert_close(result[:, :, 4:], agents[:, 0].mean(0)[:, :, 4:])
    torch.testing.assert_close(result[:, 0, 0], agents[:, 0].mean(0)[:, 0, 0])


def test_an_agent_that_diverged_takes_no_part() -> None:
    agents = torch.randn(3, 2, 3, 8, 8)
    agents[1, 0, 0, 0, 0] = torch.nan
    result = find_consensus("lazy", agents, LABELS, reference=0)
    torch.testing.assert_close(result.images, agents[[0, 2]].mean(0))


def test_slots_of_equal_labels_are_brought_into_the_reference_agents_order() -> None:
    images = torch.rand(4, 3, 6, 6)
    labels = torch.tensor([7, 3, 7, 7])
    orders = torch.tensor([[0, 1, 2, 3], [2, 1, 3, 0], [3, 1, 2, 0]])
    agents = torch.stack([images[order] for order in orders])
    result = find_consensus("lazy", agents, labels, reference=1)
    torch.testing.assert_close(result.images, agents[1])  # all hold the same pictures: nothing is blurred
    torch.testing.assert_close(result.targets, agents)
    assert float(result.spread.max()) < 1e-6


def test_slots_of_different_labels_never_trade_places() -> None:
    images = torch.rand(2, 3, 6, 6)
    agents = torch.stack([images, images.flip(0)])
    assert slot_orders(agents, torch.tensor([1, 2]), 0).tolist() == [[0, 1], [0, 1]]
    assert slot_orders(agents, torch.tensor([1, 1]), 0).tolist() == [[0, 1], [1, 0]]
    assert slot_orders(agents, None, 0).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("labels", [torch.tensor([4, 4, 9, 9, 4]), None])
def test_the_order_is_the_best_of_all_that_the_labels_allow(labels: Tensor | None) -> None:
    agents = torch.randn(2, 5, 1, 3, 3, generator=torch.Generator().manual_seed(1))

    def cost(order: tuple[int, ...]) -> float:
        return float((agents[0] - agents[1][list(order)]).square().sum())

    allowed = [order for order in permutations(range(5)) if labels is None or torch.equal(labels[list(order)], labels)]
    assert slot_orders(agents, labels, 0)[1].tolist() == list(min(allowed, key=cost))


def test_the_consensus_is_detached(make_images: Callable) -> None:
    agents = make_images(4, size=16).unflatten(0, (2, 2)).requires_grad_(True)
    assert not find_consensus("registered", agents, torch.tensor([0, 1]), 0).targets.requires_grad
