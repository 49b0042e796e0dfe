"""How candidates move: Adam written out by hand, the schedules' values, the noise's size, L-BFGS's thrift."""

import math

import pytest
import torch
from torch import Tensor

from attacks.optimizers import LBFGS, Adam, Optimizer, step_decay, warmup_cosine

TARGET = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def always(step: int, steps: int) -> float:
    """A schedule that stays at 1."""
    return 1.0


class Problem:
    """(x - target)^4 summed, with a closure that counts its calls."""

    def __init__(self, size: int = 3) -> None:
        self.x = torch.zeros(size, dtype=torch.float64).requires_grad_(True)
        self.target = TARGET if size == 3 else torch.linspace(-1, 1, size, dtype=torch.float64)
        self.calls = 0

    def closure(self) -> Tensor:
        value = (self.x - self.target).pow(4).sum()
        (self.x.grad,) = torch.autograd.grad(value, self.x)
        self.calls += 1
        return value

    def run(self, recipe: Optimizer, evaluations: int, seed: int = 0) -> list[Tensor]:
        """The iterate after every step."""
        stepper = recipe.start([self.x], evaluations, seed)
        path = []
        while self.calls < evaluations:
            stepper.step(self.closure, evaluations - self.calls)
            path.append(self.x.detach().clone())
        return path


@pytest.mark.parametrize("sign", [False, True])
def test_adam_equals_adam_by_hand(sign: bool) -> None:
    schedule = step_decay(0.5)
    path = Problem().run(Adam(0.1, schedule, sign=sign), 12)
    x, first, second = torch.zeros(3, dtype=torch.float64), 0, 0
    for t, found in enumerate(path, start=1):
        gradient = 4 * (x - TARGET) ** 3
        gradient = gradient.sign() if sign else gradient
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate = 0.1 * (1.0 if t - 1 < 6 else 0.1)
        x = x - rate * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-12)


def test_a_variable_without_a_gradient_stays() -> None:
    problem, idle = Problem(), torch.ones(2, dtype=torch.float64, requires_grad=True)
    for recipe in (Adam(0.1, always, sign=True), LBFGS()):
        recipe.start([problem.x, idle], 5, 0).step(problem.closure, 5)
    assert torch.equal(idle, torch.ones(2, dtype=torch.float64))


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
    images, logits = (torch.zeros(40_000, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def closure() -> Tensor:
        for variable in (images, logits):
            variable.grad = torch.zeros_like(variable)
        return images.sum()

    stepper = Adam(0.5, step_decay(0.5), noise=0.2).start([images, logits], 4, 0)
    before = torch.zeros_like(images)
    for rate in (0.5, 0.5, 0.05, 0.05):
        stepper.step(closure, 1)
        moved = (images - before).detach()
        assert float(moved.std()) == pytest.approx(0.2 * rate, rel=0.02)
        assert abs(float(moved.mean())) < 4 * 0.2 * rate / 200
        before = images.detach().clone()
    assert not logits.any()


def test_noise_is_seeded_and_is_not_the_start_again() -> None:
    def noise(seed: int) -> Tensor:
        x = torch.zeros(1_000, requires_grad=True)
        x.grad = torch.zeros_like(x)
        Adam(1.0, always, noise=1.0).start([x], 1, seed).step(x.sum, 1)
        return x.detach()

    start = torch.randn(1_000, generator=torch.Generator().manual_seed(7))
    assert torch.equal(noise(7), noise(7))
    assert not torch.equal(noise(7), noise(8))
    assert abs(float(torch.corrcoef(torch.stack([noise(7), start]))[0, 1])) < 0.15


@pytest.mark.parametrize("recipe", [LBFGS(lr=0.1), Adam(0.01, always)], ids=["LBFGS", "Adam"])
@pytest.mark.parametrize("remaining", [*range(1, 46)])
def test_a_step_spends_something_and_never_more_than_remains(recipe: Optimizer, remaining: int) -> None:
    problem = Problem(size=30)
    stepper = recipe.start([problem.x], 1_000, 0)
    stepper.step(problem.closure, 1_000)
    first = problem.calls
    stepper.step(problem.closure, remaining)
    assert 1 <= first <= 20
    assert 1 <= problem.calls - first <= remaining


def test_lbfgs_uses_all_its_inner_evaluations_and_keeps_its_history() -> None:
    whole, split = Problem(size=30), Problem(size=30)
    LBFGS(lr=0.1, inner=20).start([whole.x], 20, 0).step(whole.closure, 20)
    assert whole.calls == 20
    stepper = LBFGS(lr=0.1, inner=10).start([split.x], 20, 0)
    stepper.step(split.closure, 20)
    stepper.step(split.closure, 10)
    assert split.calls == 20
    assert (whole.x - whole.target).norm() < whole.target.norm()
    torch.testing.assert_close(split.x, whole.x, rtol=1e-9, atol=1e-9)
