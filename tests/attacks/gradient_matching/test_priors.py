"""Image priors against plain Python loops; the batch-norm prior against the statistics it is granted."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching.distances import SquaredL2
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.priors import (
    BatchNormStatistics,
    Candidate,
    ImageL2,
    Prediction,
    Prior,
    ReconstructionError,
    TotalVariation,
    TotalVariationL2,
    limits_of_statistics,
)
from gradinv.attacks.leak import Leak, fresh_autoencoder, reencoded
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.networks import build_network

IMAGE_PRIORS = [TotalVariation(1.0), TotalVariationL2(1.0), ImageL2(1.0)]


def differences(images: Tensor, down: int, right: int) -> list[float]:
    """x[i + down, j + right] - x[i, j] over all images and channels, wherever both pixels exist."""
    batch, channels, height, width = images.shape
    return [
        float(images[b, c, i + down, j + right] - images[b, c, i, j])
        for b in range(batch)
        for c in range(channels)
        for i in range(height)
        for j in range(width)
        if 0 <= i + down < height and 0 <= j + right < width
    ]


@pytest.fixture
def images() -> Tensor:
    """Two images that are not square."""
    return torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_total_variation_equals_a_loop(images: Tensor) -> None:
    right, down = ([abs(d) for d in differences(images, *step)] for step in ((0, 1), (1, 0)))
    expected = sum(right) / len(right) + sum(down) / len(down)
    assert TotalVariation(1.0)(Candidate(images)).item() == pytest.approx(expected, rel=1e-12)


def test_total_variation_l2_equals_a_loop_over_four_directions(images: Tensor) -> None:
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))
    expected = sum(sum(d * d for d in differences(images, *step)) ** 0.5 for step in steps)
    assert TotalVariationL2(1.0)(Candidate(images)).item() == pytest.approx(expected, rel=1e-12)


def test_image_l2_equals_a_loop(images: Tensor) -> None:
    expected = sum(sum(x * x for x in image.flatten().tolist()) ** 0.5 for image in images) / 2
    assert ImageL2(1.0)(Candidate(images)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("prior", [TotalVariation(1.0), TotalVariationL2(1.0)], ids=lambda p: type(p).__name__)
def test_a_constant_image_has_no_variation_and_no_slope(prior: Prior) -> None:
    images = torch.tensor([0.7, -0.2, 3.0]).view(1, 3, 1, 1).expand(2, 3, 6, 6).clone().requires_grad_(True)
    value = prior(Candidate(images))
    (slope,) = torch.autograd.grad(value, images)
    assert value.item() == 0.0
    assert not slope.any()


@pytest.mark.parametrize("prior", IMAGE_PRIORS, ids=lambda p: type(p).__name__)
def test_the_slope_is_finite_at_black_and_equals_a_finite_difference(prior: Prior, images: Tensor) -> None:
    black = torch.zeros_like(images).requires_grad_(True)
    assert torch.isfinite(torch.autograd.grad(prior(Candidate(black)), black)[0]).all()
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=images.dtype)
    x, step = images.clone().requires_grad_(True), 1e-6
    (slope,) = torch.autograd.grad(prior(Candidate(x)), x)
    ahead, behind = (prior(Candidate(images + s * direction)) for s in (step, -step))
    torch.testing.assert_close((slope * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.fixture
def exact(make_net: Callable, make_images: Callable, make_leak: Callable) -> tuple[Victim, Leak, Tensor]:
    """A victim, a leak with the exact statistics of a batch, and that batch."""
    net, images = make_net(dtype=torch.float64), make_images(2, dtype=torch.float64)
    return Victim(net), make_leak(net, images, torch.tensor([1, 2]), statistics="exact"), images


def test_the_bn_prior_is_zero_for_the_batch_itself(exact: tuple[Victim, Leak, Tensor]) -> None:
    victim, leak, images = exact
    prior, granted = BatchNormStatistics(1.0), leak.bn_statistics
    assert prior(Candidate(images, victim.bn_statistics(images), granted)).item() == 0.0
    assert prior(Candidate(images, victim.bn_statistics(images + 0.1), granted)).item() > 0.01


def test_the_bn_prior_is_the_sum_of_unsquared_distances(
    exact: tuple[Victim, Leak, Tensor], make_images: Callable
) -> None:
    victim, leak, _ = exact
    other = make_images(2, seed=5, dtype=torch.float64)
    expected = 0.0
    for (mean, var), (m, v) in zip(leak.bn_statistics, victim.bn_statistics(other), strict=True):
        expected += float(np.linalg.norm((m - mean).numpy()) + np.linalg.norm((v - var).numpy()))
    result = BatchNormStatistics(1.0)(Candidate(other, victim.bn_statistics(other), leak.bn_statistics))
    assert result.item() == pytest.approx(expected, rel=1e-12)


def test_the_bn_prior_aims_at_the_running_statistics_where_those_are_granted(
    make_net: Callable, make_images: Callable, make_leak: Callable
) -> None:
    net = make_net()
    leak = make_leak(net, make_images(1), torch.tensor([0]), statistics="running")
    granted = Objective(Victim(net), None, [BatchNormStatistics(1.0)]).given(leak, leak.labels)["granted"]
    assert torch.equal(granted[0][0], net.late.running_mean)
    assert torch.equal(granted[1][1], net.early.running_var)


def test_the_bn_prior_asks_for_its_grant(make_net: Callable, make_images: Callable, make_leak: Callable) -> None:
    net = make_net()
    leak = make_leak(net, make_images(1), torch.tensor([0]))
    with pytest.raises(ValueError, match="needs bn_statistics"):
        Objective(Victim(net), None, [BatchNormStatistics(1.0)]).given(leak, leak.labels)


def test_one_image_and_one_pixel_maps_give_a_finite_bn_prior() -> None:
    """An unbiased variance of one value would be 0 / 0."""
    net = nn.Sequential(nn.Conv2d(3, 4, 6), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).eval()
    victim, images = Victim(net), torch.randn(1, 3, 6, 6).requires_grad_(True)
    with victim.recording_bn_statistics() as recorded:
        victim.module(images)
        value = BatchNormStatistics(1.0)(Candidate(images, [recorded[0]], victim.running_statistics))
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, images)[0]).all()
    assert torch.equal(recorded[0][1], torch.zeros(4))


@pytest.mark.parametrize(
    ("batch", "said"), [(1, ["1 of 2 layers see fewer than 16 values a channel, the fewest 9"]), (2, [])]
)
def test_layers_that_see_few_values_are_said_where_a_prior_goes_by_them(
    case: Callable, batch: int, said: list[str]
) -> None:
    """The second convolution's maps are 3 x 3; its layer is the first in module order."""
    leak, victim = case(batch=batch)
    assert victim.bn_values(leak.image_shape) == [9, 36]
    for key, notes in {"gradinversion.fidelity": [f"batch-norm prior: {text}" for text in said], "idlg": []}.items():
        result = create_attack(key).reconstruct(leak, victim, seed=0, budget=2)
        assert [note for note in result.notes if note.startswith("batch-norm")] == notes


def test_maps_of_one_pixel_are_said_in_train_mode_too_and_nothing_is_counted() -> None:
    victim = Victim(build_network("test_resnet", num_classes=4, image_size=16, seed=0, untrained=True), bn_mode="train")
    values = victim.bn_values((3, 16, 16))
    assert (min(values), victim.evaluations.spent) == (1, 0)
    assert values[:4] == [64, 64, 64, 16]
    assert limits_of_statistics(values)[0].endswith("the fewest 1, whose variance is 0")
    assert limits_of_statistics([16 * value for value in values]) == ()


def test_the_objective_weighs_and_adds(exact: tuple[Victim, Leak, Tensor], make_images: Callable) -> None:
    victim, leak, _ = exact
    other = make_images(2, seed=5, dtype=torch.float64)
    priors = [TotalVariation(0.3), ImageL2(0.0), BatchNormStatistics(0.2)]
    objective = Objective(victim, None, priors)
    with objective.ready():
        result = objective.evaluate([other], objective.given(leak, leak.labels)).value
    expected = 0.3 * priors[0](Candidate(other))
    expected += 0.2 * priors[2](Candidate(other, victim.bn_statistics(other), leak.bn_statistics))
    torch.testing.assert_close(result, expected)


def test_no_hook_where_no_prior_needs_the_statistics(exact: tuple[Victim, Leak, Tensor]) -> None:
    victim, _, _ = exact
    for priors, hooks in (([TotalVariation(1.0)], 0), ([BatchNormStatistics(1.0)], 2)):
        with Objective(victim, None, priors).ready():
            assert sum(len(layer._forward_pre_hooks) for layer in victim.bn_layers) == hooks
        assert sum(len(layer._forward_pre_hooks) for layer in victim.bn_layers) == 0


@pytest.mark.parametrize("joint", [False, True], ids=["labels", "optimised"])
@pytest.mark.parametrize("bn", [False, True], ids=["alone", "with statistics"])
def test_a_prediction_is_compared_with_the_label(
    exact: tuple[Victim, Leak, Tensor], make_images: Callable, bn: bool, joint: bool
) -> None:
    """Beside the distance, by autograd and by the function that programs are traced from, and by plain arithmetic."""
    victim, leak, _ = exact
    images = make_images(2, seed=5, dtype=torch.float64)
    wanted = torch.eye(leak.num_classes, dtype=torch.float64)[leak.labels]
    candidate = [images]
    if joint:
        candidate.append(torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
        wanted = candidate[1].softmax(dim=1)
    priors = [*([BatchNormStatistics(0.2)] if bn else []), Prediction(0.3)]
    objective = Objective(victim, SquaredL2(), priors)
    given = objective.given(leak, None if joint else leak.labels)
    with objective.ready():
        value, slopes, terms = objective.evaluate(candidate, given)
        by_func, func_slopes, _ = objective.functional(candidate, given, victim.state)
    expected = 0.3 * ((victim.module(images).softmax(1) - wanted) ** 2).sum() / len(images)
    torch.testing.assert_close(terms[-1], expected.detach())
    assert objective.term_names[-1] == "prediction"
    torch.testing.assert_close(by_func, value)
    for slope, func_slope in zip(slopes, func_slopes, strict=True):
        torch.testing.assert_close(slope, func_slope)


def test_without_labels_a_prediction_says_nothing() -> None:
    images = torch.rand(2, 1, 3, 3, requires_grad=True)
    penalty = Prediction(1.0)(Candidate(images, logits=torch.zeros(2, 4), labels=torch.empty(0, dtype=torch.int64)))
    assert penalty.item() == 0
    with pytest.raises(ValueError, match="needs predictions"):
        Prediction(1.0)(Candidate(images))


def test_an_anomaly_is_what_an_autoencoder_leaves_of_pixels(exact: tuple[Victim, Leak, Tensor]) -> None:
    """By plain arithmetic on pixels, by finite differences, and through the objective in both of its ways."""
    victim, leak, images = exact
    tensors = {name: value.double() for name, value in fresh_autoencoder(3, seed=2, width=4, code=2).items()}
    leak = replace(leak, autoencoder=tensors)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (leak.mean, leak.std))
    pixels = images * std + mean
    expected = ((reencoded(tensors, pixels) - pixels) ** 2).mean()
    objective = Objective(victim, SquaredL2(), [ReconstructionError(0.3)])
    given = objective.given(leak, leak.labels)
    with objective.ready():
        value, slopes, terms = objective.evaluate([images], given)
        by_func, func_slopes, _ = objective.functional([images], given, victim.state)
    torch.testing.assert_close(terms[-1], 0.3 * expected, rtol=1e-6, atol=0)
    assert objective.term_names[-1] == "autoencoder"
    torch.testing.assert_close(by_func, value)
    torch.testing.assert_close(slopes[0], func_slopes[0])
    penalty = ReconstructionError(1.0)
    taught = objective.given(leak, leak.labels)["autoencoder"]
    assert torch.autograd.gradcheck(lambda x: penalty(Candidate(x, autoencoder=taught)), images.requires_grad_(True))


def test_without_an_autoencoder_there_is_no_anomaly(exact: tuple[Victim, Leak, Tensor]) -> None:
    victim, leak, images = exact
    with pytest.raises(ValueError, match="needs an autoencoder"):
        ReconstructionError(1.0)(Candidate(images))
    with pytest.raises(ValueError, match="the leak has none"):
        Objective(victim, None, [ReconstructionError(1.0)]).given(leak, leak.labels)
