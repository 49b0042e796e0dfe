"""L-BFGS over many candidates walks where `torch.optim.LBFGS` walks with each, and keeps the candidates apart."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.lbfgs import LBFGS

Function = Callable[[Tensor], Tensor]
"""The objective of one candidate, (D,)."""

SIZE = 12


def quadratic(condition: float) -> Function:
    scales = torch.logspace(0, 1, SIZE, base=condition, dtype=torch.float64) / condition
    return lambda x: (scales * (x - 1) ** 2).sum()


def rosenbrock(x: Tensor) -> Tensor:
    return (10 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum() / 100


def quartic(x: Tensor) -> Tensor:
    return ((x - 2) ** 4).sum() / 10 + x.sum() ** 2 / 50


def waves(x: Tensor) -> Tensor:
    """Concave in places, so that pairs are rejected."""
    return (torch.cos(3 * x) + 0.01 * x**2).sum() + 0.1 * torch.sin(x.sum())


FUNCTIONS: list[Function] = [quadratic(100), rosenbrock, quartic, waves]


def starts(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return list(torch.randn(count, SIZE, generator=generator, dtype=torch.float64))


def evaluate(functions: Sequence[Function], points: Tensor) -> tuple[Tensor, Tensor]:
    """Objectives (N,) and gradients (N, D)."""
    points = points.clone().requires_grad_(True)
    values = torch.stack([function(x) for function, x in zip(functions, points, strict=True)])
    return values.detach(), torch.autograd.grad(values.sum(), points)[0]


def walk(functions: Sequence[Function], points: Sequence[Tensor], evaluations: int, recipe: LBFGS) -> Tensor:
    """The points at which each candidate is evaluated, (N, evaluations, D)."""
    x = torch.stack(list(points))
    stepper, path = recipe.start([x], evaluations, [0] * len(x)), []
    for _ in range(evaluations):
        path.append(x.clone())
        values, gradients = evaluate(functions, x)
        stepper.update(values, [gradients], None)
    return torch.stack(path, dim=1)


def reference(function: Function, start: Tensor, evaluations: int, recipe: LBFGS) -> tuple[Tensor, int]:
    """The points at which `torch.optim.LBFGS` evaluates, and how many pairs it remembers in the end."""
    x = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([x], lr=recipe.lr, max_iter=10**6, history_size=recipe.history)
    path: list[Tensor] = []

    def closure() -> Tensor:
        path.append(x.detach().clone())
        value = function(x)
        (x.grad,) = torch.autograd.grad(value, x)
        return value

    while len(path) < evaluations:
        optimizer.param_groups[0]["max_eval"] = evaluations - len(path)
        optimizer.step(closure)
    return torch.stack(path[:evaluations]), len(optimizer.state[x]["old_dirs"])


def travelled(path: Tensor) -> Tensor:
    """A path without its repetitions: PyTorch evaluates twice where it leaves its inner loop."""
    return torch.stack([path[0], *(b for a, b in pairwise(path) if not torch.equal(a, b))])


def assert_same_walk(result: Tensor, expected: Tensor, least: int) -> None:
    result, expected = travelled(result), travelled(expected)
    shared = min(len(result), len(expected))
    assert shared >= least
    torch.testing.assert_close(result[:shared], expected[:shared], rtol=1e-8, atol=1e-8)


CASES = {
    "well-conditioned quadratic": (quadratic(10), 1.0, 15),
    "ill-conditioned quadratic": (quadratic(10_000), 0.3, 80),
    "Rosenbrock": (rosenbrock, 0.3, 60),
    "quartic": (quartic, 0.05, 80),
    "waves": (waves, 0.05, 80),
}
"""Function, learning rate, and the least number of different points before both stand still."""


@pytest.mark.parametrize("name", CASES)
def test_one_candidate_walks_as_in_pytorch(name: str) -> None:
    function, lr, least = CASES[name]
    (start,) = starts(1)
    expected, _ = reference(function, start, 80, LBFGS(lr))
    assert_same_walk(walk([function], [start], 80, LBFGS(lr))[0], expected, least)


@pytest.mark.parametrize("history", [4, 100])
def test_candidates_walk_together_as_each_does_in_pytorch(history: int) -> None:
    recipe, points = LBFGS(0.2, history), starts(4)
    paths = walk(FUNCTIONS, points, 70, recipe)
    for function, start, path in zip(FUNCTIONS, points, paths, strict=True):
        assert_same_walk(path, reference(function, start, 70, recipe)[0], 40)


@pytest.mark.parametrize("history", [5, 100])
@pytest.mark.parametrize(("lr", "spread"), [(0.02, 1), (0.05, 2)])
def test_rejected_pairs_leave_each_memory_as_it_was(history: int, lr: float, spread: float) -> None:
    recipe, points, functions = LBFGS(lr, history), [spread * x for x in starts(4)], [waves, quartic, waves, waves]
    paths = walk(functions, points, 60, recipe)
    held = [reference(f, start, 60, LBFGS(lr))[1] for f, start in zip(functions, points, strict=True)]
    for function, start, path in zip(functions, points, paths, strict=True):
        assert_same_walk(path, reference(function, start, 60, recipe)[0], 50)
    assert held[1] == 58  # All of them: there is none before the first step nor, in PyTorch, at the last evaluation.
    assert len(set(held)) >= 3
    assert min(held) <= 54


def test_the_walk_goes_on_after_the_memory_is_full() -> None:
    recipe, functions, points = LBFGS(0.05), [quartic, waves], starts(2)
    paths = walk(functions, points, 160, recipe)
    for function, start, path in zip(functions, points, paths, strict=True):
        expected, held = reference(function, start, 160, recipe)
        assert held == 100
        assert_same_walk(path, expected, 150)


def test_variables_of_different_shapes_walk_as_one() -> None:
    recipe, points = LBFGS(0.3), starts(3)
    x = torch.stack(points)
    images, logits, path = x[:, :8].reshape(3, 2, 2, 2).clone(), x[:, 8:].clone(), []
    stepper = recipe.start([images, logits], 60, [0, 0, 0])
    for _ in range(60):
        path.append(torch.cat([images.flatten(1), logits], dim=1))
        values, gradients = evaluate([rosenbrock] * 3, path[-1])
        stepper.update(values, [gradients[:, :8].reshape(images.shape), gradients[:, 8:]], None)
    torch.testing.assert_close(torch.stack(path, 1), walk([rosenbrock] * 3, points, 60, recipe), rtol=0, atol=0)


def test_a_candidate_does_not_depend_on_the_others() -> None:
    points, functions = starts(8), FUNCTIONS * 2
    together = walk(functions, points, 60, LBFGS(0.2))
    for function, start, path in zip(functions, points, together, strict=True):
        torch.testing.assert_close(walk([function], [start], 60, LBFGS(0.2))[0], path, rtol=1e-8, atol=1e-8)


def test_a_candidate_at_its_optimum_stays_and_the_others_go_on() -> None:
    points = starts(3)
    points[1] = torch.ones(SIZE, dtype=torch.float64)
    points[2] = points[1] + 1e-6  # A gradient above the least, along which nothing falls fast enough.
    paths = walk([quadratic(10)] * 3, points, 20, LBFGS())
    for still in (1, 2):
        assert torch.equal(paths[still], points[still].expand(20, SIZE))
    torch.testing.assert_close(paths[0, -1], points[1], rtol=0, atol=1e-4)
    assert len(travelled(reference(quadratic(10), points[2], 20, LBFGS())[0])) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_candidate_without_finite_gradients_leaves_the_others_bit_for_bit(bad: float) -> None:
    def walked(value: float) -> Tensor:
        x, path = torch.stack(starts(3)), []
        stepper = LBFGS(0.3).start([x], 40, [0, 0, 0])
        for step in range(40):
            values, gradients = evaluate([quartic, rosenbrock, waves], x)
            gradients[1, 3] = value if step >= 10 else gradients[1, 3]
            stepper.update(values, [gradients], None)
            path.append(x.clone())
        return torch.stack(path, dim=1)

    result, expected = walked(bad), walked(0.0)
    assert torch.equal(result[[0, 2]], expected[[0, 2]])
    assert result[1, -1].isnan().any()


def test_a_candidate_that_is_not_moving_stays_bit_for_bit_and_resumes_its_walk() -> None:
    points = starts(2)
    points[1][0] = -0.0
    x, path = torch.stack(points), []
    stepper = LBFGS(0.3).start([x], 60, [0, 0])
    for step in range(60):
        path.append(x.clone())
        values, gradients = evaluate([quartic, rosenbrock], x)
        stepper.update(values, [gradients], torch.tensor([True, not (step < 5 or 20 <= step < 30)]))
    paths, unbroken = torch.stack(path, dim=1), walk([quartic, rosenbrock], points, 60, LBFGS(0.3))
    assert torch.equal(paths[1, :6].view(torch.int64), points[1].expand(6, SIZE).contiguous().view(torch.int64))
    assert torch.equal(paths[1, 20:31], paths[1, 20].expand(11, SIZE))
    torch.testing.assert_close(travelled(paths[1])[:40], unbroken[1, :40], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(paths[0], unbroken[0], rtol=0, atol=0)
