"""How candidates move: Adam written out by hand, each candidate for itself, the schedules' values, the noise."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.optimizers import (
    LBFGS,
    NOISE_STREAM,
    Adam,
    CoarseFirst,
    Optimizer,
    step_decay,
    warmup_cosine,
)

TARGET = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def always(step: int, steps: int) -> float:
    """A schedule that stays at 1."""
    return 1.0


RECIPES = [Adam(0.1, step_decay(0.5)), Adam(0.1, always, sign=True), Adam(0.1, warmup_cosine(3), noise=0.2)]
NAMES = ["Adam", "sign", "noise"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradient_of(x: Tensor) -> Tensor:
    """That of (x - target)^4 summed."""
    return 4 * (x - TARGET) ** 3


def run(recipe: Optimizer, x: Tensor, evaluations: int, seeds: Sequence[int]) -> list[Tensor]:
    """The candidates, (N, 3), after every update; `x` itself is not changed."""
    x = x.clone()
    stepper, path = recipe.start([x], evaluations, seeds), []
    for _ in range(evaluations):
        stepper.update(((x - TARGET) ** 4).sum(dim=1), [gradient_of(x)], None)
        path.append(x.clone())
    return path


@pytest.mark.parametrize("sign", [False, True])
def test_adam_equals_adam_by_hand(sign: bool) -> None:
    schedule = step_decay(0.5)
    path = run(Adam(0.1, schedule, sign=sign), torch.zeros(1, 3, dtype=torch.float64), 12, [0])
    x, first, second = torch.zeros(3, dtype=torch.float64), 0, 0
    for t, result in enumerate(path, start=1):
        gradient = gradient_of(x)
        gradient = gradient.sign() if sign else gradient
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate = 0.1 * (1.0 if t - 1 < 6 else 0.1)
        x = x - rate * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        torch.testing.assert_close(result[0], x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
@pytest.mark.parametrize("shape", [(3, 8, 8), (5, 7)], ids=str)
def test_candidates_together_equal_candidates_alone_bit_for_bit(recipe: Adam, shape: tuple[int, ...]) -> None:
    def run_pair(rows: slice) -> list[Tensor]:
        images, logits = (
            torch.randn(3, 2, *shape, generator=seeded(1))[rows],
            torch.randn(3, 4, generator=seeded(2))[rows],
        )
        images, logits = images.clone(), logits.clone()
        stepper = recipe.start([images, logits], 30, [11, 12, 13][rows])
        for _ in range(30):
            stepper.update(torch.zeros(len(images)), [images**3 - images, logits.sin()], None)
        return [images, logits]

    together = run_pair(slice(0, 3))
    for candidate in range(3):
        for both, alone in zip(together, run_pair(slice(candidate, candidate + 1)), strict=True):
            assert torch.equal(both[candidate : candidate + 1], alone)


@pytest.mark.parametrize("recipe", [*RECIPES, LBFGS()], ids=[*NAMES, "L-BFGS"])
def test_a_variable_without_a_gradient_stays_and_gradients_are_not_changed(recipe: Optimizer) -> None:
    x, idle, gradient = torch.ones(2, 3), torch.ones(2, 4), torch.full((2, 3), 0.3)
    stepper = recipe.start([x, idle], 5, [0, 1])
    for _ in range(2):
        stepper.update(torch.ones(2), [gradient, None], None)
    assert torch.equal(idle, torch.ones(2, 4))
    assert torch.equal(gradient, torch.full((2, 3), 0.3))
    assert not torch.isclose(x, torch.ones(2, 3)).any()
    assert x.grad is None


@pytest.mark.parametrize("recipe", [*RECIPES, LBFGS()], ids=[*NAMES, "L-BFGS"])
def test_candidates_that_are_not_moving_stay_and_the_others_are_not_touched(recipe: Optimizer) -> None:
    x, logits = torch.randn(3, 2, 5, generator=seeded(1)), torch.randn(3, 4, generator=seeded(2))
    start, free = [x.clone(), logits.clone()], [x.clone(), logits.clone()]
    held, unheld = (recipe.start(variables, 10, [0, 1, 2]) for variables in ([x, logits], free))
    for _ in range(10):
        held.update(torch.zeros(3), [x**3, logits.sin()], torch.tensor([True, False, True]))
        unheld.update(torch.zeros(3), [free[0] ** 3, free[1].sin()], None)
    for variable, before, moved in zip([x, logits], start, free, strict=True):
        assert torch.equal(variable[1], before[1])
        assert torch.equal(variable[[0, 2]], moved[[0, 2]])


@pytest.mark.parametrize("steps", [8, 80, 24_000])
def test_step_decay_at_three_five_and_seven_eighths(steps: int) -> None:
    rate = step_decay(3 / 8, 5 / 8, 7 / 8)
    for eighth in range(8):
        expected = 0.1 ** sum(eighth >= at for at in (3, 5, 7))
        first, last = eighth * steps // 8, (eighth + 1) * steps // 8 - 1
        assert rate(first, steps) == rate(last, steps) == pytest.approx(expected)


def test_warmup_is_linear_and_then_a_cosine_falls_to_zero() -> None:
    rate, steps = warmup_cosine(50), 1050
    assert [rate(t, steps) for t in (0, 24, 49)] == pytest.approx([1 / 50, 0.5, 1.0])
    for t in (50, 300, 550, 800, 1049):
        assert rate(t, steps) == pytest.approx(0.5 * (1 + math.cos(math.pi * (t - 50) / 1000)))
    assert rate(550, steps) == pytest.approx(0.5)
    assert rate(1049, steps) < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 40])
def test_short_runs_warm_up_for_at_most_a_quarter(steps: int) -> None:
    rates = [warmup_cosine(50)(t, steps) for t in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates.index(max(rates)) <= max(steps // 4 - 1, 0)


def test_noise_has_the_size_of_learning_rate_times_alpha_and_touches_the_images_only() -> None:
    images, logits = (torch.zeros(2, 40_000, dtype=torch.float64) for _ in range(2))
    stepper = Adam(0.5, step_decay(0.5), noise=0.2).start([images, logits], 4, [0, 1])
    for rate in (0.5, 0.5, 0.05, 0.05):
        before = images.clone()
        stepper.update(torch.zeros(2), [torch.zeros_like(images), torch.zeros_like(logits)], None)
        for moved in images - before:
            assert float(moved.std()) == pytest.approx(0.2 * rate, rel=0.02)
            assert abs(float(moved.mean())) < 4 * 0.2 * rate / 200
    assert not logits.any()


def noise(seeds: Sequence[int], steps: int = 1) -> Tensor:
    """What N candidates of (10, 100) are moved by, in images and nothing else."""
    x = torch.zeros(len(seeds), 10, 100)
    stepper = Adam(1.0, always, noise=1.0).start([x], steps, seeds)
    for _ in range(steps):
        stepper.update(torch.zeros(len(seeds)), [torch.zeros_like(x)], None)
    return x


def test_noise_is_drawn_from_each_candidates_seed_an_image_a_step() -> None:
    stream = seeded(7 ^ NOISE_STREAM)
    expected = torch.randn(10, 100, generator=stream) + torch.randn(10, 100, generator=stream)
    assert torch.equal(noise([3, 7], steps=2)[1], expected)


def test_noise_is_seeded_and_is_not_the_start_again() -> None:
    start = torch.randn(10, 100, generator=seeded(7))
    assert torch.equal(noise([7]), noise([7]))
    assert not torch.equal(noise([7]), noise([8]))
    assert abs(float(torch.corrcoef(torch.stack([noise([7]).flatten(), start.flatten()]))[0, 1])) < 0.15


def test_of_a_pyramid_the_coarsest_level_moves_first_and_each_finer_one_as_adam_from_its_release() -> None:
    levels = [torch.zeros(1, 3, dtype=torch.float64) for _ in range(3)]
    fixed = torch.zeros(1, 2)
    stepper = CoarseFirst(Adam(0.1, always), levels=3, share=0.5).start([*levels, fixed], 8, [0])
    steps = []
    for _ in range(8):
        before = [level.clone() for level in levels]
        stepper.update(torch.zeros(1), [gradient_of(level) for level in levels] + [None], None)
        steps.append([not torch.equal(old, new) for old, new in zip(before, levels, strict=True)])
    # Of 8 steps half is 4: the finest waits for 4 steps, the middle one for 2.
    assert steps == [[False, False, True]] * 2 + [[False, True, True]] * 2 + [[True] * 3] * 4
    for level, moved in zip(levels, (4, 6, 8), strict=True):
        torch.testing.assert_close(
            level, run(Adam(0.1, always), torch.zeros(1, 3, dtype=torch.float64), moved, [0])[-1]
        )
    assert not fixed.any()
