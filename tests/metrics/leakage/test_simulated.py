"""Simulated families: false verdicts are as rare as promised, and a leak in one respect alone is found."""

from collections.abc import Callable

import numpy as np
import pytest

from gradinv.metrics.leakage.verdict import leakage_of
from gradinv.metrics.records.record import Cell
from gradinv.metrics.records.samples import Sample

SIMULATIONS = 2_000
ALLOWED = 0.06
METRICS = ("psnr", "structure", "identity_lowpass", "rank_anywhere")
"""The last is measured in some suites only: values of three metrics are of the first three."""
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Respects that hang together: what makes a batch easy for one makes it easy for the others."""
    common = random.normal(size=(*shape[:-1], 1))
    return 0.7 * common + 0.7 * random.normal(size=shape)


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The same with a long tail: now and then a batch comes out whole."""
    return np.exp(normal(random, shape))


def ranks(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normalised ranks in a pool of 1,000: uniform, and hanging together."""
    order = normal(random, shape).argsort(axis=0).argsort(axis=0) / (shape[0] - 1)
    return np.round(order * 999) / 999


def mixed(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normalised ranks of which two in five are the first: an attack that names an image or sees nothing of it."""
    values = ranks(random, shape)
    return np.where(values > 0.6, 0.0, -values)


def samples_of(values: np.ndarray, cell: Cell) -> Sample:
    """The values (batches, metrics) of one simulation; a rank is better where it is lower."""
    signs = (1, 1, -1, -1)
    columns = {
        metric: {(batch, "image"): sign * value for batch, value in enumerate(column)}
        for metric, sign, column in zip(METRICS, signs, values.T.tolist(), strict=False)
    }
    return Sample(cell, columns, "records")


def share_of(found: Callable, attacks: np.ndarray, controls: dict[str, np.ndarray], cell: Cell) -> float:
    """Share of simulations (first axis) whose respects that leak from the gradient are `found`."""
    verdicts = [
        leakage_of(
            samples_of(attack, cell),
            {name: samples_of(values[index], cell) for name, values in controls.items()},
        ).gradient
        for index, attack in enumerate(attacks)
    ]
    assert None not in verdicts
    return float(np.mean([found(verdict) for verdict in verdicts]))


def simulated(draw: Draw, n: int, seed: int, metrics: int = 3) -> np.ndarray:
    """(simulations, batches, metrics), every value from one distribution."""
    return draw(np.random.default_rng([seed, n]), (SIMULATIONS, n, metrics))


@pytest.fixture(scope="module")
def cell() -> Cell:
    return Cell(
        attack="dlg", dataset="photos", image_size=32, victim="resnet18", victim_state="untrained", victim_seed=0,
        bn_mode="eval", bn_statistics="none", granted_numbers_per_pixel=0.0, labels="known", update="gradient",
        defense="none", adaptive=False, batch_size=1, max_equal_labels=1,
    )  # fmt: skip


@pytest.mark.parametrize("n", [8, 16])
@pytest.mark.parametrize("draw", [normal, skewed, ranks, mixed])
def test_an_attack_like_its_best_control_is_seldom_said_to_leak(draw: Draw, n: int, cell: Cell) -> None:
    attacks, best = simulated(draw, n, 1), simulated(draw, n, 2)
    worse = best - 3 * best.std()
    rate = share_of(bool, attacks, {"other_gradient": best, "mean_image": worse}, cell)
    assert rate <= ALLOWED
    assert rate > 0.002, "a test that never finds anything would pass too"


@pytest.mark.parametrize(("n", "draw"), [(8, normal), (16, skewed)])
def test_a_difficulty_shared_by_both_changes_nothing(n: int, draw: Draw, cell: Cell) -> None:
    """Attack and control are paired: some batches are harder than others for both."""
    hard = 5 * np.random.default_rng(3).normal(size=(SIMULATIONS, n, 1))
    attacks, best = (simulated(draw, n, seed) + hard for seed in (4, 5))
    assert share_of(bool, attacks, {"other_gradient": best}, cell) <= ALLOWED


@pytest.mark.parametrize("n", [8, 16])
def test_a_planted_leak_of_identity_alone_is_found(n: int, cell: Cell) -> None:
    attacks, best = (simulated(normal, n, seed)[:500] for seed in (6, 7))
    attacks[..., 2] += 3.0  # two deviations of the difference
    controls = {"other_gradient": best, "mean_image": best - 0.5}
    assert share_of(lambda verdict: "identity" in verdict, attacks, controls, cell) > 0.9
    wrong = share_of(lambda verdict: {"pixels", "structure"} & {*verdict} != set(), attacks, controls, cell)
    assert wrong <= ALLOWED + 0.02, "two deviations of a share of 500 more"


@pytest.mark.parametrize(("n", "draw"), [(8, ranks), (16, normal), (8, mixed)])
def test_to_look_for_the_original_elsewhere_too_makes_false_verdicts_no_more_frequent(
    n: int, draw: Draw, cell: Cell
) -> None:
    attacks, best = (simulated(draw, n, seed, metrics=4) for seed in (8, 9))
    rate = share_of(bool, attacks, {"other_gradient": best, "mean_image": best - 3 * best.std()}, cell)
    assert 0.002 < rate <= ALLOWED
