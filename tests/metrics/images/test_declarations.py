"""What every registered metric declares is true: direction, range, smallest size, one value for each image."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import alexnet, vgg16

from gradinv.metrics.images.facts import Facts, facts_of
from gradinv.metrics.images.identity import Pool
from gradinv.metrics.images.scoring import METRICS, ScoredBatch, score_batch, score_images

BACKBONES = {"alexnet-owt-7be5be79.pth": alexnet, "vgg16-397923af.pth": partial(vgg16, init_weights=False)}
NAMES = [name for name in METRICS.names() if METRICS.constants(name).get("per", "image") == "image"]
ROUNDING = 1e-6
each_metric = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory):
    """Backbones of random weights: what is tested here does not depend on what they have learned."""
    folder: Path = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for file, backbone in BACKBONES.items():
        state = backbone(weights=None).state_dict()
        torch.save({name: value for name, value in state.items() if name.startswith("features")}, folder / file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADINV_WEIGHTS", str(folder))
        yield


def smallest(name: str) -> int:
    return max(METRICS.get(name).metadata["min_size"], 16)


def photos(name: str, count: int = 2) -> Tensor:
    """Smooth images, as small as the metric allows."""
    size, generator = smallest(name), torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def beside_others(reconstructions: Tensor, originals: Tensor) -> ScoredBatch:
    """The batch with a pool of seeded photographs, which metrics that rank the original need."""
    coarse = torch.rand(40, *originals.shape[1:2], 4, 4, generator=torch.Generator().manual_seed(7))
    others = torch.nn.functional.interpolate(coarse, originals.shape[-2:], mode="bicubic").clamp(0, 1)
    pool = Pool("smooth images", len(others), lambda indices: others[list(indices)])
    rivals = torch.ones(len(originals), len(others), dtype=torch.bool)
    return ScoredBatch(reconstructions, originals, pool=pool, rivals=rivals)


def scored(name: str, reconstructions: Tensor, originals: Tensor) -> Tensor:
    scores = score_batch(beside_others(reconstructions, originals), [name])
    assert scores.notes == ()
    return scores.values[name]


@pytest.mark.parametrize("name", METRICS.names())
def test_what_is_read_of_a_declaration_is_what_is_registered(name: str) -> None:
    read, registered = METRICS.constants(name), METRICS.get(name).metadata
    assert {fact: registered[fact] for fact in read} == read
    assert Facts(**read) == Facts(**registered) == facts_of(name)


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_says_what_tables_and_figures_need(name: str) -> None:
    facts = facts_of(name)
    assert facts is not None
    assert facts.direction in ("higher", "lower")
    assert facts.low < facts.high
    assert facts.title
    assert facts.meaning
    if facts.direction == "higher":
        assert math.isfinite(min(facts.high, facts.cap))


@each_metric
def test_values_are_per_image_and_do_not_depend_on_the_batch(name: str, pair) -> None:
    size = smallest(name)
    reconstructions, originals = pair((size, size + 1))
    together = scored(name, reconstructions, originals)
    alone = [scored(name, reconstructions[i : i + 1], originals[i : i + 1]) for i in range(3)]
    assert together.shape == (3,)
    torch.testing.assert_close(together, torch.cat(alone))


@each_metric
@pytest.mark.parametrize("channels", [1, 3])
def test_an_exact_image_has_the_best_value(name: str, channels: int, pair) -> None:
    facts, size = facts_of(name), smallest(name)
    _, originals = pair((size, size + 3), channels)
    best = facts.high if facts.direction == "higher" else facts.low
    torch.testing.assert_close(scored(name, originals, originals), torch.full((3,), best), atol=1e-5, rtol=0)


@each_metric
def test_the_declared_direction_is_that_of_a_degraded_image(name: str) -> None:
    originals = photos(name)
    noise = torch.randn(originals.shape, generator=torch.Generator().manual_seed(1))
    facts = facts_of(name)
    # A rank stays the first for long: only noise that leaves nothing of the picture moves it.
    sigmas = (0.02, 100.0) if facts.needs_pool else (0.02, 0.1, 0.4)
    levels = [scored(name, (originals + sigma * noise).clamp(0, 1), originals).mean() for sigma in sigmas]
    assert all(facts.sign * better > facts.sign * worse for better, worse in pairwise(levels))
    exact = scored(name, originals, originals)
    assert (facts.sign * exact >= facts.sign * levels[0]).all()


@each_metric
def test_no_pair_leaves_the_declared_range(name: str) -> None:
    generator, shape = torch.Generator().manual_seed(2), photos(name, 1).shape
    noise, photo = torch.rand(shape, generator=generator), photos(name, 1)
    black, white = torch.zeros(shape), torch.ones(shape)
    checks = (torch.arange(shape[-1]) % 2).expand(shape).float()
    every = (noise, photo, 1 - photo, black, white, checks)
    metadata = METRICS.get(name).metadata
    for reconstruction in every:
        for original in every:
            values = scored(name, reconstruction, original)
            assert values.shape == (shape[0],)
            assert (values >= metadata["low"] - ROUNDING).all(), (name, values)
            assert (values <= metadata["high"] + ROUNDING).all(), (name, values)


@each_metric
def test_below_the_declared_size_there_is_a_note_and_no_number(name: str) -> None:
    least = METRICS.get(name).metadata["min_size"]
    at_least = torch.rand(1, 3, least, least + 3, generator=torch.Generator().manual_seed(3))
    assert list(score_batch(beside_others(at_least, at_least.flip(-1)), [name]).values) == [name]
    if least > 1:
        small = at_least[:, :, : least - 1]
        found = score_images(small, small, [name])
        assert (found.values, found.notes) == ({}, (f"{name}: defined from {least} px, the images have {least - 1}",))
