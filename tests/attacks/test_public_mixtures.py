"""A private image behind a public one: found from the mixture of a known public image, and from nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching import valid_range
from gradinv.attacks.known_defense import KnownDefense
from gradinv.attacks.leak import Leak, LeakError
from gradinv.attacks.public_mixtures import Mixture, private_image
from gradinv.attacks.transforms import UnansweredError
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset, draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import client_update
from gradinv.benchmark.victims import normalise
from gradinv.benchmark.victims.networks import build_network

DATASET = create_dataset("photos", 16)
ENDS = valid_range(DATASET.mean, DATASET.std, torch.float32, torch.device("cpu"))
KEY = "instahide[k=2,private=1]"


def photograph(repetition: int) -> Tensor:
    """One tuning photograph (C, H, W), normalised."""
    batch = draw_batch(DATASET, repetition=repetition, batch_size=1, role="tuning")
    return normalise(batch.images, DATASET.mean, DATASET.std)[0]


def public() -> Tensor:
    """Train images (64, C, H, W), normalised: neither attacked nor what the defense mixes in."""
    return normalise(DATASET.split("train").images(range(0, 1984, 31)), DATASET.mean, DATASET.std)


def psnr(image: Tensor, original: Tensor) -> float:
    """In dB, of pixels in [0, 1]."""
    difference = (image - original) * torch.tensor(DATASET.std).view(3, 1, 1)
    return float(-10 * difference.square().mean().clamp_min(1e-12).log10())


def scrambled(image: Tensor, other: Tensor, share: float, seed: int) -> Tensor:
    """Their mixture with the signs of half of the pixels flipped."""
    signs = 1 - 2 * torch.randint(2, image.shape, generator=torch.Generator().manual_seed(seed))
    return signs * (share * image + (1 - share) * other)


def test_without_flips_the_image_is_the_rest_to_rounding() -> None:
    some = public()
    for number in range(4):
        image, share = photograph(number), 0.4 + 0.05 * number
        found = private_image(share * image + (1 - share) * some[number], some, Mixture(share, *ENDS, flip=False))
        torch.testing.assert_close(found, image, rtol=1e-4, atol=1e-4)


def test_flipped_signs_are_found_where_the_public_image_is_among_those_tried() -> None:
    some, mixture = public(), Mixture(0.5, *ENDS)
    seen = [scrambled(photograph(number), some[3 * number], 0.5, number) for number in range(8)]
    known = [psnr(private_image(hidden, some, mixture), photograph(n)) for n, hidden in enumerate(seen)]
    assert sum(value > 18 for value in known) >= 4
    # Control: the same without the one that was mixed in.
    without = [torch.cat([some[: 3 * n], some[3 * n + 1 :]]) for n in range(8)]
    blind = [psnr(private_image(hidden, without[n], mixture), photograph(n)) for n, hidden in enumerate(seen)]
    assert sum(value > 18 for value in blind) <= 1


@pytest.fixture(scope="module")
def victim() -> Victim:
    return Victim(build_network("lenet_dlg", num_classes=8, image_size=16, seed=0))


def observed(victim: Victim, key: str = KEY) -> tuple[Leak, Tensor, Tensor]:
    """A leak of one evaluation photograph, what the network saw of it, and the photograph."""
    defense, batch = create_defense(key), draw_batch(DATASET, repetition=0, batch_size=1)
    image = normalise(batch.images, DATASET.mean, DATASET.std)
    update = client_update(victim.module, image, torch.tensor([3]), bn_mode="eval", defense=defense, seed=4)
    leak = Leak(
        update.sent,
        1,
        (3, 16, 16),
        8,
        DATASET.mean,
        DATASET.std,
        labels=torch.tensor([3]),
        transform=defense.known(),
        public=defense.public_like(image),
    )
    return leak, update.images, image


def test_what_the_network_saw_meets_the_update_and_tells_the_share(victim: Victim) -> None:
    leak, seen, image = observed(victim, "instahide[flip=false,k=2,private=1]")
    known = KnownDefense(leak.transform, victim)
    assert known.start(leak) == []
    target = [leak.gradients[name] for name in victim.parameter_names]
    whole = [value.detach() for value in victim.update(seen, leak.labels)]
    for value, sent in zip(known.expected(whole, target), known.compared(target), strict=True):
        torch.testing.assert_close(value, sent, rtol=1e-4, atol=1e-6)
    # Of the true share and the public image that was taken, since nothing else leaves the photograph.
    torch.testing.assert_close(known.private(seen, leak), image, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_answered_is_said(victim: Victim) -> None:
    leak, seen, _ = observed(victim)
    known = KnownDefense(leak.transform, victim)
    for changes, reason in (
        ({"batch_size": 2}, "of 2 images only the mean of their updates is sent"),
        ({"public": None}, "the leak has no public images"),
        ({"labels": None}, "without the label nothing tells the share"),
    ):
        with pytest.raises(UnansweredError, match=reason):
            known.start(replace(leak, **changes))
    unbiased = build_network("lenet_dlg", num_classes=8, image_size=16, seed=0)
    head = unbiased.get_classifier()
    head.bias = nn.Parameter(head.bias.detach(), requires_grad=False)
    without = replace(leak, gradients={n: v for n, v in leak.gradients.items() if v.shape != (8,)})
    with pytest.raises(UnansweredError, match="the classifier has no bias"):
        KnownDefense(leak.transform, Victim(unbiased)).start(without)
    broken = seen.clone()
    broken[0, 0, 0, 0] = torch.nan
    assert known.private(broken, leak) is broken


def test_public_images_travel_in_a_leak_file_and_must_fit(victim: Victim, tmp_path) -> None:
    leak, _, _ = observed(victim)
    leak.save(tmp_path / "leak.safetensors")
    read = Leak.load(tmp_path / "leak.safetensors")
    assert read.public is not None
    assert leak.public is not None
    assert torch.equal(read.public, leak.public)
    with pytest.raises(LeakError, match="the public images are"):
        victim.require_fit(replace(leak, public=leak.public[..., :8]))
