"""What is returned is the very iterate whose objective was best; divergence, curve and snapshots are told truly."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.attack import GradientMatching
from gradinv.attacks.gradient_matching.descent import CHECK_EVERY
from gradinv.attacks.gradient_matching.distances import SquaredL2
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.optimizers import LBFGS, Adam, Optimizer, step_decay
from gradinv.attacks.gradient_matching.priors import Candidate, Prior
from gradinv.attacks.gradient_matching.tracking import CURVE_POINTS, SNAPSHOTS, Tracker, snapshot_evaluations
from gradinv.attacks.registry import ATTACKS, create_attack

# Groups have their own tests, and so have networks with positions.
ALONE = {"gradinversion": "gradinversion.fidelity", "april_matching": "april_matching.no_position"}
MATCHING = [name for name in ATTACKS.names() if issubclass(ATTACKS.get(name).target, GradientMatching)]
NAMES = [ALONE.get(name, name) for name in MATCHING]
OPTIMIZERS = [Adam(0.1, step_decay(0.5)), LBFGS(lr=0.5)]


class Rising(Prior):
    """Nothing in the first 20 calls, then far too much: the best evaluation is not the last."""

    calls = 0

    def __call__(self, candidate: Candidate) -> Tensor:
        self.calls += 1
        return candidate.images.sum() * 0 + (1e6 if self.calls > 20 else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_returned_images_are_those_of_the_best_evaluation(case: Callable, evaluated: list, name: str) -> None:
    attack = create_attack(name)
    attack.priors = [*attack.priors, Rising(1.0)]
    reconstruction = attack.reconstruct(*case(), seed=3, budget=45)
    best = min(evaluated, key=lambda call: call.value)
    assert best.value < 1e6
    assert torch.equal(reconstruction.images, best.images)
    assert not torch.equal(reconstruction.images, reconstruction.final)
    assert torch.equal(reconstruction.final, evaluated[-1].images)
    assert reconstruction.objective_end == best.value
    assert reconstruction.objective_start == evaluated[0].value
    assert not reconstruction.diverged


# Not of attacks that optimise something beside the images, which is not returned: DLG's labels, the surrogate's place.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dlg", "surrogate_model")])
def test_the_objective_of_the_returned_images_is_the_one_reported(case: Callable, name: str) -> None:
    leak, victim = case()
    attack = create_attack(name)
    reconstruction = attack.reconstruct(leak, victim, seed=3, budget=45)
    objective = Objective(victim, attack.distance, attack.priors)
    with objective.ready():
        result = objective.evaluate([reconstruction.images], objective.given(leak, reconstruction.labels))[0].item()
    assert result == pytest.approx(reconstruction.objective_end, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "deep_image_prior"])
def test_the_start_is_standard_normal_from_the_seed(case: Callable, evaluated: list, name: str) -> None:
    leak, victim = case()
    create_attack(name).reconstruct(leak, victim, seed=3, budget=1)
    drawn = torch.randn(leak.shape, generator=torch.Generator().manual_seed(3))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (leak.mean, leak.std))
    boxed = drawn.clamp(-mean / std, (1 - mean) / std)
    assert torch.equal(evaluated[0].images, boxed if create_attack(name).parametrisation.box else drawn)


@pytest.mark.parametrize("name", NAMES)
def test_curve_and_snapshots_are_the_evaluations_that_they_name(case: Callable, evaluated: list, name: str) -> None:
    reconstruction = create_attack(name).reconstruct(*case(), seed=3, budget=45)
    assert [spent for spent, _ in reconstruction.curve] == list(range(1, 46))
    assert all(value == evaluated[spent - 1].value for spent, value in reconstruction.curve)
    assert reconstruction.snapshot_at == tuple(sorted(snapshot_evaluations(45)))
    for spent, images in zip(reconstruction.snapshot_at, reconstruction.snapshots, strict=True):
        assert torch.equal(images, evaluated[spent - 1].images)


class Breaking(Prior):
    """Nothing, but NaN in the calls from `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(1.0)
        self.first, self.last, self.calls = first, last, 0

    def __call__(self, candidate: Candidate) -> Tensor:
        self.calls += 1
        broken = self.first <= self.calls <= self.last
        return candidate.images.sum() * (math.nan if broken else 0.0)


def breaking_attack(optimizer: Optimizer, first: int, last: int, restarts: int = 1) -> GradientMatching:
    return GradientMatching(
        distance=SquaredL2(), optimizer=optimizer, iterations=1, priors=[Breaking(first, last)], restarts=restarts
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("last", [9, 10_000], ids=["once", "for good"])
def test_a_diverged_attack_returns_its_best_finite_iterate(
    case: Callable, evaluated: list, optimizer: Optimizer, last: int
) -> None:
    reconstruction = breaking_attack(optimizer, 9, last).reconstruct(*case(), seed=0, budget=300)
    finite = [call for call in evaluated if math.isfinite(call.value)]
    assert reconstruction.diverged
    assert len(finite) == 8
    assert torch.equal(reconstruction.images, min(finite, key=lambda call: call.value).images)
    assert reconstruction.objective_end == min(call.value for call in finite)
    assert CHECK_EVERY <= reconstruction.evaluations <= CHECK_EVERY + 20


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_without_any_finite_objective_the_start_is_returned(
    case: Callable, evaluated: list, optimizer: Optimizer
) -> None:
    reconstruction = breaking_attack(optimizer, 1, 10_000).reconstruct(*case(), seed=0, budget=60)
    assert reconstruction.diverged
    assert torch.equal(reconstruction.images, evaluated[0].images)
    assert reconstruction.objective_end == math.inf
    assert math.isnan(reconstruction.objective_start)


def test_a_restart_that_diverged_does_not_spoil_the_others(case: Callable, evaluated: list) -> None:
    reconstruction = breaking_attack(OPTIMIZERS[0], 1, 50, restarts=2).reconstruct(*case(), seed=0, budget=120)
    assert not reconstruction.diverged
    assert reconstruction.evaluations == 120
    assert torch.equal(reconstruction.images, min(evaluated[50:], key=lambda call: call.value).images)


def watch(values: list[float], evaluations: int | None = None) -> Tracker:
    """A tracker that saw one candidate with these objectives at x = 0, 1, 2, ..."""
    x = torch.zeros(1, 1)
    tracker = Tracker([x], evaluations or len(values))
    for value in values:
        tracker.observe(torch.tensor([value]))
        x += 1
    return tracker


def first(variables: Sequence[Tensor]) -> Tensor:
    """The images are the first variable."""
    return variables[0]


def test_the_tracker_keeps_the_first_of_equal_bests_and_the_last() -> None:
    tracker = watch([5.0, 2.0, math.nan, -math.inf, 2.0, 3.0])
    assert (tracker.best[0].item(), tracker.best_value(0), tracker.last[0].item()) == (1.0, 2.0, 5.0)
    assert tracker.diverged(0)


def test_the_tracker_does_not_share_memory_with_the_candidate() -> None:
    x = torch.zeros(1, 2)
    tracker = Tracker([x], 3)
    tracker.observe(torch.tensor([1.0]))
    x += 7
    result = tracker.reconstruction(0, first, labels=torch.tensor([0]), label_method="", uses=(), evaluations=0)
    assert not any(images.any() for images in (result.images, result.final, *result.snapshots))


def test_candidates_are_watched_each_by_itself_and_not_after_their_end() -> None:
    x = torch.zeros(3, 1)
    tracker = Tracker([x], 6)
    for values in ([3.0, math.nan, 3.0], [2.0, 1.0, 4.0], [1.0, 0.0, 0.5], [0.9, -1.0, 0.1]):
        tracker.observe(torch.tensor(values))
        x += 1
        tracker.look(2, 0.6)  # after two evaluations the second is over, after four the third
    assert tracker.over == [False, True, True]
    tracker.observe(torch.tensor([5.0, -9.0, -9.0]))
    assert tracker.spent == [5, 2, 4]
    assert [tracker.best_value(index) for index in range(3)] == pytest.approx([0.9, 1.0, 0.1])
    assert tracker.best[0].flatten().tolist() == [3.0, 1.0, 3.0]
    assert tracker.last[0].flatten().tolist() == [4.0, 1.0, 3.0]
    assert tracker.curve(2) == pytest.approx([3.0, 4.0, 0.5, 0.1])
    assert [tracker.diverged(index) for index in range(3)] == [False, True, False]
    assert tracker.moving.tolist() == [True, False, False]


def test_all_variables_are_remembered_and_stand_for_the_images() -> None:
    """Of three iterates of two variables the second is best: images are their sum."""
    x, y = torch.zeros(2, 1), torch.zeros(2, 1)
    tracker = Tracker([x, y], 3)
    for value in (2.0, 1.0, 3.0):
        x += 1
        y += 10
        tracker.observe(torch.tensor([9.0, value]))
    reconstruction = tracker.reconstruction(
        1, lambda both: both[0] + both[1], labels=torch.tensor([0]), label_method="", uses=(), evaluations=3
    )
    assert (reconstruction.images.item(), reconstruction.final.item()) == (22.0, 33.0)
    assert [snapshot.item() for snapshot in reconstruction.snapshots] == [11.0, 22.0, 33.0]


def test_fillers_stand_still_and_are_not_watched() -> None:
    x = torch.zeros(3, 1)
    tracker = Tracker([x], 4, fillers=2)
    assert tracker.moving.tolist() == [True, False, False]
    tracker.observe(torch.tensor([1.0, 0.0, 0.0]))
    assert tracker.spent == [1, 0, 0]
    assert tracker.best_value(1) == math.inf


@pytest.mark.parametrize(
    ("values", "tolerance", "over"),
    [
        ([3.0, 2.0, 1.0, 0.5], 0.6, True),
        ([3.0, 2.0, 1.0, 0.5], 0.5, False),
        ([3.0, 2.0, 2.0, 2.0], 0.0, False),
        ([2.0, 2.0, 2.0, 2.0], 0.0, True),
        ([3.0, math.nan, 1.0, 0.5], 0.0, True),
        ([0.1, 0.1, 0.1], 1.0, False),
    ],
)
def test_when_a_restart_is_over(values: list[float], tolerance: float, over: bool) -> None:
    tracker = watch(values, 10)
    tracker.look(4, tolerance)
    assert tracker.over == [over]
    assert (tracker.moving is None) is not over


def test_a_look_comes_once_in_every_so_many_evaluations() -> None:
    tracker = watch([3.0, 2.0, 1.0, 1.0], 10)
    tracker.look(4, 0.0)
    tracker.observe(torch.tensor([math.nan]))
    tracker.look(4, 0.0)
    assert tracker.over == [False]


@pytest.mark.parametrize("evaluations", [1, 2, 3, 7, 99, 100, 101, 5_000])
def test_few_points_of_the_curve_and_the_ends_among_them(evaluations: int) -> None:
    tracker = watch([float(evaluations - i) for i in range(evaluations)])
    reconstruction = tracker.reconstruction(0, first, labels=torch.tensor([0]), label_method="", uses=(), evaluations=0)
    spent = [point for point, _ in reconstruction.curve]
    assert (spent[0], spent[-1]) == (1, evaluations)
    assert len(spent) == min(evaluations, CURVE_POINTS)
    assert all(value == evaluations - point + 1 for point, value in reconstruction.curve)


@pytest.mark.parametrize("evaluations", [1, 2, 10, 128, 20_000])
def test_snapshots_are_few_and_geometric(evaluations: int) -> None:
    chosen = sorted(snapshot_evaluations(evaluations))
    assert (chosen[0], chosen[-1]) == (1, evaluations)
    assert len(chosen) <= SNAPSHOTS
    if evaluations == 20_000:
        assert all(4.1 * a - 4 < b < 4.2 * a + 4 for a, b in pairwise(chosen))
