"""Identity: ranks against a plain loop, and what each judge sees and does not see in planted degradations."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import timm
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad
from torchvision.transforms.functional import gaussian_blur, resize

from gradinv.benchmark.datasets import create_dataset, draw_batch, mean_image
from gradinv.benchmark.experiment.identity import NetworkJudge, pool_of, rivals_of
from gradinv.metrics.images.identity import (
    CosineLikeness,
    LowpassLikeness,
    Pool,
    identity_lowpass,
    lowpass_features,
    normalised_ranks,
    ranks_of,
)
from gradinv.metrics.images.psnr import psnr
from gradinv.metrics.images.ranks import identity_name, judge_of, rank_of
from gradinv.metrics.images.scoring import MetricUnavailable, ScoredBatch, score_batch

SIZE = 32
LEAST_CONTRAST = 0.1
"""Deviation of a photograph's pixels below which noise at 8 dB leaves nothing to see: skies and retinas."""


class Pictures(NamedTuple):
    """Private photographs, the mean image of the training set, and the pool that they are looked for in."""

    originals: Tensor
    mean: Tensor
    pool: Pool
    rivals: Tensor

    def ranks(self, pictures: Tensor) -> Tensor:
        return identity_lowpass(ScoredBatch(pictures, self.originals, pool=self.pool, rivals=self.rivals))

    def worse_than_the_mean(self, pictures: Tensor) -> Tensor:
        return psnr(pictures, self.originals) < psnr(self.mean.expand_as(self.originals), self.originals)


@pytest.fixture(scope="module")
def photos() -> Pictures:
    """Eight batches of three photographs with something in them."""
    dataset = create_dataset("photos", SIZE)
    batches = [draw_batch(dataset, repetition=repetition, batch_size=4) for repetition in range(8)]
    originals = torch.cat([batch.images for batch in batches])
    rivals = torch.cat([rivals_of(dataset, batch) for batch in batches])
    kept = originals.std((2, 3)).mean(1) >= LEAST_CONTRAST
    assert kept.sum() >= 20
    return Pictures(originals[kept], mean_image(dataset), pool_of(dataset), rivals[kept])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def checkerboard(size: int = SIZE) -> Tensor:
    places = torch.arange(size)
    return 1.0 - 2 * ((places[:, None] + places) % 2)


def at(decibels: float, originals: Tensor, disturbance: Tensor) -> Tensor:
    """The originals under a disturbance, so strong that their PSNR is this after clamping."""
    low, high = 0.0, 8.0
    for _ in range(30):
        middle = (low + high) / 2
        disturbed = (originals + middle * disturbance).clamp(0, 1)
        low, high = (middle, high) if psnr(disturbed, originals).mean() > decibels else (low, middle)
    return disturbed


def noisy(photos: Pictures) -> Tensor:
    return at(8.0, photos.originals, torch.randn(photos.originals.shape, generator=generator()))


def chequered(photos: Pictures) -> Tensor:
    return at(7.0, photos.originals, checkerboard().expand_as(photos.originals))


def saturated(photos: Pictures) -> Tensor:
    images = photos.originals
    return (0.5 + 6 * (images - images.mean((1, 2, 3), keepdim=True))).clamp(0, 1)


def coloured(photos: Pictures) -> Tensor:
    gain, offset = torch.tensor([1.3, 0.7, 0.5]), torch.tensor([0.0, 0.1, 0.3])
    return (photos.originals * gain.view(3, 1, 1) + offset.view(3, 1, 1)).clamp(0, 1)


def shifted(photos: Pictures) -> Tensor:
    """Down and to the left by a sixteenth of the side, the border repeated."""
    step = SIZE // 16
    return pad(photos.originals, (0, step, step, 0), mode="replicate")[..., :SIZE, step:]


DEGRADATIONS: dict[str, Callable[[Pictures], Tensor]] = {
    "exact": lambda photos: photos.originals,
    "noise": noisy,
    "checkerboard": chequered,
    "saturated": saturated,
    "blur": lambda photos: gaussian_blur(photos.originals, [13, 13], [SIZE / 12, SIZE / 12]),
    "colour": coloured,
    "shifted": shifted,
    "mirrored": lambda photos: photos.originals.flip(3),
    "faded": lambda photos: 0.15 * photos.originals + 0.85 * photos.mean,
}


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_the_weight_free_judge_sees_the_original_through(degradation: str, photos: Pictures) -> None:
    ranks = photos.ranks(DEGRADATIONS[degradation](photos))
    assert ranks.dtype == photos.originals.dtype
    assert ranks.tolist() == [0.0] * len(photos.originals)


@pytest.mark.parametrize(("degradation", "share"), [("noise", 0.9), ("checkerboard", 0.9), ("saturated", 0.5)])
def test_it_does_where_psnr_says_worse_than_the_mean_image(degradation: str, share: float, photos: Pictures) -> None:
    assert photos.worse_than_the_mean(DEGRADATIONS[degradation](photos)).float().mean() >= share


def test_pictures_without_content_have_a_half_exactly(photos: Pictures) -> None:
    seen = torch.cat([photos.pool.images([index]) for index in range(photos.pool.size)])
    for empty in (seen.double().mean(0).float(), torch.tensor(0.0), torch.tensor(0.4), torch.rand(3, 1, 1)):
        assert set(photos.ranks(empty.expand_as(photos.originals)).tolist()) == {0.5}


def other_photographs(photos: Pictures) -> Tensor:
    return photos.originals.roll(3, 0)


def nothing_but_noise(photos: Pictures) -> Tensor:
    return torch.rand(photos.originals.shape, generator=generator(1))


def mean_of_the_training_images(photos: Pictures) -> Tensor:
    return photos.mean.expand_as(photos.originals)


@pytest.mark.parametrize("blind", [other_photographs, nothing_but_noise, mean_of_the_training_images])
def test_what_shows_nothing_of_the_original_is_at_chance(blind: Callable, photos: Pictures) -> None:
    ranks = photos.ranks(blind(photos))
    error = ranks.std() / math.sqrt(len(ranks))
    assert abs(ranks.mean() - 0.5) < 3 * error
    assert (ranks == 0).sum() <= 1


def test_what_it_cannot_see(photos: Pictures) -> None:
    """Large shifts and inverted contrast, as its description says."""
    assert photos.ranks(photos.originals.roll(SIZE // 2, 2)).mean() > 0.1
    assert photos.ranks(1 - photos.originals).mean() > 0.4


def counted(own: Tensor, others: Tensor, rivals: Tensor) -> list[float]:
    """The definition, one comparison after the other."""
    ranks = []
    for mine, theirs, allowed in zip(own.tolist(), others.tolist(), rivals.tolist(), strict=True):
        points = [
            0.5 if theirs[index] == mine else float(theirs[index] > mine)
            for index in range(len(theirs))
            if allowed[index]
        ]
        ranks.append(sum(points) / len(points) if points else math.nan)
    return ranks


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_a_plain_loop(seed: int) -> None:
    # Few different values, so that there are ties.
    own = torch.randint(0, 5, (6,), generator=generator(seed)) / 4
    others = torch.randint(0, 5, (6, 40), generator=generator(seed + 9)) / 4
    rivals = torch.rand(6, 40, generator=generator(seed)) < 0.5
    rivals[0] = False
    ranks = normalised_ranks(own, others, rivals)
    assert ranks.tolist() == pytest.approx(counted(own, others, rivals), nan_ok=True)
    assert ranks[0].isnan()
    assert not ranks[1:].isnan().any()


def test_rounding_makes_no_winner() -> None:
    everyone = torch.ones(1, 3, dtype=torch.bool)
    own = torch.tensor([0.3], dtype=torch.float64)
    others = torch.tensor([[0.3 + 1e-13, 0.3 - 1e-13, 0.3]], dtype=torch.float64)
    assert normalised_ranks(own, others, everyone).item() == 0.5


def test_who_is_no_rival_does_not_count() -> None:
    own, others = torch.tensor([0.5, 0.5]), torch.tensor([[0.9, 0.1, 0.9]]).expand(2, 3)
    rivals = torch.tensor([[True, True, False], [False, True, False]])
    assert normalised_ranks(own, others, rivals).tolist() == [0.5, 0.0]


def correlated(picture: Tensor, photograph: Tensor, mean: Tensor) -> float:
    """The largest correlation over all shifts and the mirror, pixel by pixel; features without their mean picture."""
    side = picture.shape[-1]
    reach = side // 8
    axis = (mean / mean.norm()).double()
    made, true = (image.double() - (image.double() * axis).sum() * axis for image in (picture, photograph))
    made, true = made / made.norm(), true / true.norm()
    best = -math.inf
    for turned in (made, made.flip(2)):
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                rows = range(max(0, down), min(side, side + down))
                columns = range(max(0, right), min(side, side + right))
                total = sum(
                    float((turned[:, row - down, column - right] * true[:, row, column]).sum())
                    for row in rows
                    for column in columns
                )
                best = max(best, total)
    return best


@pytest.mark.parametrize("size", [8, 16])
def test_likeness_is_that_of_a_double_loop_over_shifts_and_mirror(size: int) -> None:
    photographs = lowpass_features(torch.rand(5, 3, size, size, generator=generator()))
    pictures = lowpass_features(torch.rand(2, 3, size, size, generator=generator(1)))
    pool, originals = photographs[:3], photographs[3:]
    mean, likeness = pool.mean(0), LowpassLikeness(pool)
    expected = [[correlated(picture, photograph, mean) for photograph in pool] for picture in pictures]
    for row, wanted in zip(likeness.to_pool(pictures).tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-6)
    pairs = [correlated(picture, original, mean) for picture, original in zip(pictures, originals, strict=True)]
    assert likeness.to_originals(pictures, originals).tolist() == pytest.approx(pairs, abs=1e-6)


def test_a_shifted_copy_is_as_like_as_what_is_left_of_it() -> None:
    photographs = lowpass_features(torch.rand(6, 3, 16, 16, generator=generator(2)))
    likeness = LowpassLikeness(photographs)
    assert likeness.to_pool(photographs).diagonal().tolist() == pytest.approx([1.0] * 6)
    assert likeness.to_originals(photographs, photographs).tolist() == pytest.approx([1.0] * 6)
    assert (likeness.to_pool(photographs) <= 1 + 1e-6).all()
    moved = likeness.to_pool(photographs.roll((2, -1), (2, 3)))
    assert moved.argmax(1).tolist() == list(range(6))
    beyond = likeness.to_pool(photographs.roll(3, 2))
    assert (beyond.diagonal() < 0.5).all()


def test_features_are_the_small_image_without_its_mean() -> None:
    images = torch.rand(2, 3, 64, 48, generator=generator())
    features = lowpass_features(images)
    assert features.shape == (2, 3, 16, 16)
    assert features.mean((2, 3)).abs().max() < 1e-12
    assert lowpass_features(images + 0.1).allclose(features)
    # Of both sides by themselves, whatever the shape: as torchvision resizes.
    resized = resize(images.double(), [16, 16], antialias=True)
    torch.testing.assert_close(features, resized - resized.mean((2, 3), keepdim=True), atol=1e-6, rtol=0)
    small = lowpass_features(images[..., :9, :9])
    assert small.allclose((images[..., :9, :9] - images[..., :9, :9].mean((2, 3), keepdim=True)).double(), atol=1e-6)


def test_cosine_is_torchs() -> None:
    pictures, photographs = torch.randn(3, 7, generator=generator()), torch.randn(5, 7, generator=generator(1))
    expected = cosine_similarity(pictures[:, None].double(), photographs[None].double(), dim=2)
    likeness = CosineLikeness(photographs)
    assert likeness.to_pool(pictures).allclose(expected)
    assert likeness.to_originals(pictures, photographs[:3]).allclose(expected.diagonal())


def untrained_judge() -> NetworkJudge:
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=8).eval().requires_grad_(False)
    return NetworkJudge("test_resnet", "untrained", module, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "0" * 16)


def features_with_gradient(judge: NetworkJudge, images: Tensor) -> Tensor:
    normalised = (images - 0.5) / 0.25
    return judge.module.forward_head(judge.module.forward_features(normalised), pre_logits=True)


def adversarial(judge: NetworkJudge, start: Tensor, targets: Tensor) -> Tensor:
    """The photographs `start`, changed until the judge sees the targets' features in them."""
    wanted = features_with_gradient(judge, targets)
    images = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([images], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        likeness = cosine_similarity(features_with_gradient(judge, images), wanted)
        (-likeness.sum()).backward()
        optimiser.step()
        images.data.clamp_(0, 1)
    return images.detach()


def test_an_adversarial_picture_fools_the_network_and_not_the_judge_without_weights(photos: Pictures) -> None:
    judge = untrained_judge()
    start = other_photographs(photos)
    pictures = adversarial(judge, start, photos.originals)
    assert psnr(pictures, start).min() > 15, "they still show the other photograph"
    scored = ScoredBatch(pictures, photos.originals, pool=photos.pool, rivals=photos.rivals)
    by_network = ranks_of(scored, judge.metric, judge.features, CosineLikeness)
    assert (by_network == 0).float().mean() > 0.9
    assert (photos.ranks(pictures) == 0).float().mean() < 0.1
    assert photos.ranks(pictures).mean() > 0.3
    # The network is blind by no fault of its own: it finds exact pictures, and no other photograph.
    before = ranks_of(
        ScoredBatch(start, photos.originals, pool=photos.pool, rivals=photos.rivals),
        judge.metric,
        judge.features,
        CosineLikeness,
    )
    assert before.mean() > 0.3


def test_a_judges_features_are_what_enters_the_classifier(photos: Pictures) -> None:
    judge = untrained_judge()
    many = photos.pool.images(range(40))  # more than it takes at once
    assert judge.features(many).allclose(features_with_gradient(judge, many), atol=1e-5)
    assert not judge.module.get_classifier()._forward_pre_hooks, "the hook is gone"


def test_a_batch_without_a_pool_has_a_note_instead_of_ranks() -> None:
    images = torch.rand(2, 3, 16, 16, generator=generator())
    with pytest.raises(MetricUnavailable, match="no pool of photographs"):
        identity_lowpass(ScoredBatch(images, images))
    scores = score_batch(ScoredBatch(images, images), ["identity_lowpass"])
    assert (scores.values, scores.notes) == ({}, ("identity_lowpass: there is no pool of photographs to look among",))


def test_a_pools_features_are_made_once_and_in_chunks() -> None:
    images, sizes = torch.rand(150, 3, 8, 8, generator=generator()), []

    def make(chunk: Tensor) -> Tensor:
        sizes.append(len(chunk))
        return chunk.flatten(1)[:, :4]

    pool = Pool("mine", 150, lambda indices: images[list(indices)])
    assert not pool.knows("judge")
    for _ in range(2):
        assert torch.equal(pool.features("judge", make), images.flatten(1)[:, :4])
    assert sizes == [64, 64, 22]
    pool.remember("other", images[:, 0])
    assert pool.knows("other")
    assert torch.equal(pool.features("other", make), images[:, 0])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 8, 12), (3, 24, 32)])
def test_small_grey_and_oblong_images(shape: tuple[int, int, int]) -> None:
    images = torch.rand(20, *shape, generator=generator())
    pool = Pool("mine", 20, lambda indices: images[list(indices)])
    noisy_images = (images[:4] + 0.1 * torch.randn(4, *shape, generator=generator(1))).clamp(0, 1)
    scored = ScoredBatch(noisy_images, images[:4], pool=pool, rivals=~torch.eye(20, dtype=torch.bool)[:4])
    assert identity_lowpass(scored).tolist() == [0.0] * 4


def test_names_and_ranks_go_forth_and_back() -> None:
    assert judge_of(identity_name("resnet18")) == "resnet18"
    assert judge_of("ssim") == ""
    ranks = list(map(partial(rank_of, pool_size=11), (0.0, 0.25, 1.0)))
    assert ranks == [1.0, 3.5, 11.0]
