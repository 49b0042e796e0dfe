"""Searched augmentations: the library, the scores, and a search that chooses what the scores say."""

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.augmentations import LIBRARY, apply_policy, parse_policies
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.defenses.ats_search import accuracy_score, policy_text, privacy_score, search_policies
from gradinv.metrics.registry import InvalidEntryError


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)).double()


LABELS = torch.tensor([0, 3, 1, 2])


def test_every_augmentation_moves_something_image_by_image_and_has_the_slope_of_a_difference(images: Tensor) -> None:
    along = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for number, augmentation in enumerate(LIBRARY):
        changed = apply_policy(images, (number,))
        assert changed.shape == images.shape
        assert (changed - images).abs().max() > 1e-3
        torch.testing.assert_close(changed[1:2], augmentation(images[1:2]))
        # Each is affine in the image, so that a difference of any size is its slope.
        leaf = images.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad((augmentation(leaf) * along).sum(), leaf)
        difference = augmentation(images + along) - changed
        torch.testing.assert_close((slope * along).sum(), (difference * along).sum())


def test_geometry_is_what_the_names_say(images: Tensor) -> None:
    kinds = {(a.kind, a.magnitude): number for number, a in enumerate(LIBRARY)}
    right = apply_policy(images.new_ones(1, 3, 20, 20), (kinds["translate_x", 0.15],))
    assert torch.equal(right[0, 0, 10, :17], torch.ones(17, dtype=torch.float64))
    assert not right[0, 0, 10, 17:].any()
    turned = apply_policy(images, (kinds["rotate", 30.0],))
    centre = images[:, :, 3:5, 3:5].mean((2, 3))
    torch.testing.assert_close(turned[:, :, 3:5, 3:5].mean((2, 3)), centre, atol=0.15, rtol=0)
    torch.testing.assert_close(apply_policy(images, (kinds["flip", 1.0],) * 2), images)


def test_each_image_draws_one_of_the_policies(images: Tensor) -> None:
    seen, _ = create_defense("ats[policy=15/16-3]").on_batch(images, LABELS, torch.Generator().manual_seed(3))
    either = torch.stack([apply_policy(images, policy) for policy in ((15,), (16, 3))])
    matches = (either - seen).abs().amax((2, 3, 4)) < 1e-12
    assert (matches.sum(0) == 1).all()
    assert matches.any(1).all()


def test_the_cosine_is_one_where_the_attack_has_arrived(module: nn.Module, images: Tensor) -> None:
    arrived = privacy_score(module, images[:1], LABELS[:1], (), images[0])
    assert arrived == pytest.approx(1.0)
    assert privacy_score(module, images[:1], LABELS[:1], (), -images[0]) < 0.99


def test_images_that_look_alike_to_the_network_score_low(module: nn.Module, images: Tensor) -> None:
    alike = images[:1] + 1e-3 * images
    assert accuracy_score(module, alike, ()) < accuracy_score(module, images, ())


def test_the_search_keeps_the_most_private_of_the_better_half(module: nn.Module, images: Tensor) -> None:
    found = search_policies(module, images, LABELS, candidates=12, keep=2, seed=4)
    everyone = search_policies(module, images, LABELS, candidates=12, keep=99, seed=4)
    assert found == everyone[:2]
    assert found[0].privacy <= found[1].privacy <= everyone[-1].privacy
    assert 2 < len(everyone) < 12  # those that score less in accuracy are gone
    for entry in everyone:
        assert entry.accuracy == pytest.approx(accuracy_score(module, images, entry.policy))
    assert parse_policies(policy_text(found)) == tuple(entry.policy for entry in found)


def test_unknown_numbers_are_refused() -> None:
    for text in ("99", "3-x", "3--1"):
        with pytest.raises(InvalidEntryError, match="write numbers from 0 to 24"):
            create_defense(f"ats[policy={text}]")
