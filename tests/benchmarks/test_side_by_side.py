"""The benchmark beside breaching: that both systems get one problem and minimise one objective."""

import math

import pytest
import torch

from tests.benchmarks.side_by_side.problems import ATTACKS, Case, make_problem
from tests.benchmarks.side_by_side.ratios import median_interval, why_void
from tests.benchmarks.side_by_side.tables import insert

pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def one_thread(benchmark):
    """On one thread, as in the measurements; `benchmark`, so that `--benchmark-only` runs these tests too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def systems():
    pytest.importorskip("breaching", reason="breaching is not installed: pip install breaching==0.1.2 hydra-core")
    from tests.benchmarks.side_by_side.breaching_system import BreachingSystem
    from tests.benchmarks.side_by_side.our_system import OurSystem

    return lambda problem: (OurSystem(problem), BreachingSystem(problem))


# Not DLG on a network with ReLUs: there L-BFGS multiplies rounding, and no two runs stay together.
PAIRS = [(attack, model) for attack in ATTACKS for model in ("lenet_dlg", "test_resnet")][:-1]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("attack", "model"), PAIRS)
def test_both_systems_minimise_the_same_objective_from_the_same_start(systems, attack, model, batch):
    ours, theirs = (system.run(40).objectives for system in systems(make_problem(Case(attack, model, batch))))
    assert math.isclose(ours[0], theirs[0], rel_tol=1e-3)
    assert math.isclose(ours[20], theirs[20], rel_tol=1e-2)


def test_both_systems_count_the_same_evaluations_of_lbfgs(systems):
    ours, theirs = systems(make_problem(Case("dlg", "lenet_dlg", 1)))
    assert ours.run(40).iterations == theirs.run(40).iterations == 40


def test_the_problem_is_the_same_whenever_it_is_made():
    case = Case("gradinversion", "test_resnet", 2)
    assert make_problem(case).digest() == make_problem(case).digest()


@pytest.mark.parametrize(("rounds", "bounds"), [(6, (0, 5)), (7, (0, 6)), (9, (1, 7)), (20, (5, 14))])
def test_the_interval_of_the_median_is_that_of_the_sign_test(rounds, bounds):
    assert median_interval([float(value) for value in range(rounds)])[1:] == bounds


def test_five_rounds_have_no_interval():
    assert all(math.isnan(bound) for bound in median_interval([1.0, 2.0, 3.0, 4.0, 5.0])[1:])


@pytest.mark.parametrize("later", [0.6, math.nan])
def test_objectives_that_part_make_the_comparison_void(later):
    assert why_void({"0": 1.0, "20": 0.5}, {"0": 1.0, "20": 0.501}, {}) is None
    assert "void" in why_void({"0": 1.0, "20": 0.5}, {"0": 1.0, "20": later}, {})


def test_a_table_replaces_the_one_in_its_place(tmp_path):
    path = tmp_path / "speed.md"
    path.write_text("above\n<!-- peers -->\nold\n<!-- /peers -->\nbelow\n")
    insert(path, "peers", "new")
    assert path.read_text() == "above\n<!-- peers -->\nnew\n<!-- /peers -->\nbelow\n"
