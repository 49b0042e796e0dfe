"""Whatever evaluates the candidates computes what autograd computes in turn, and says so where it cannot."""

import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching import programs
from gradinv.attacks.gradient_matching.distances import CosineDistance, Distance, LayerwiseL2, SquaredL2
from gradinv.attacks.gradient_matching.evaluation import Engine, InChunks, InTurn
from gradinv.attacks.gradient_matching.objective import Objective
from gradinv.attacks.gradient_matching.priors import (
    BatchNormStatistics,
    Candidate,
    ImageL2,
    Prior,
    TotalVariation,
    TotalVariationL2,
)
from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim

PRIORS = [TotalVariation(0.1), TotalVariationL2(1e-3), ImageL2(1e-4), BatchNormStatistics(0.1)]
ALL = {
    "squared": (SquaredL2(), []),
    "cosine": (CosineDistance(), PRIORS[:1]),
    "layerwise": (LayerwiseL2(1e-3), PRIORS[1:]),
    "blind": (None, PRIORS),
}
WAYS = [Engine(together=4), Engine("captured"), Engine("captured", together=3)]
each_way = pytest.mark.parametrize("way", WAYS, ids=str)
each_objective = pytest.mark.parametrize("name", ALL)


@pytest.fixture(autouse=True)
def empty_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is left from another test."""
    monkeypatch.setattr(programs, "_programs", programs.OrderedDict())


@pytest.fixture
def many(make_net: Callable, make_images: Callable, make_leak: Callable) -> Callable[..., tuple[list[Leak], Victim]]:
    """`many(count, bn_mode="eval", dtype=torch.float32)`: leaks of two images each, and their victim."""

    def make(count: int, *, bn_mode: str = "eval", dtype: torch.dtype = torch.float32) -> tuple[list[Leak], Victim]:
        net, labels = make_net(dtype=dtype), torch.tensor([3, 1])
        batches = [make_images(2, seed=20 + index, dtype=dtype) for index in range(count)]
        return [make_leak(net, images, labels, statistics="exact") for images in batches], Victim(net, bn_mode=bn_mode)

    return make


def by_finite_difference(objective: Objective, images: Tensor, leak: Leak, direction: Tensor) -> Tensor:
    """The slope of the objective along a direction."""
    given, step = objective.given(leak, leak.labels), 1e-6
    ahead, behind = (objective.evaluate([images + s * direction], given)[0] for s in (step, -step))
    return (ahead - behind) / (2 * step)


@each_objective
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_autograds_gradient_is_the_slope(many: Callable, make_images: Callable, name: str, bn_mode: str) -> None:
    (leak,), victim = many(1, bn_mode=bn_mode, dtype=torch.float64)
    objective = Objective(victim, *ALL[name])
    images, direction = (make_images(2, seed=seed, dtype=torch.float64) for seed in (1, 2))
    with objective.ready():
        _, (slope,), _ = objective.evaluate([images], objective.given(leak, leak.labels))
        expected = by_finite_difference(objective, images, leak, direction)
    torch.testing.assert_close((slope * direction).sum(), expected, rtol=1e-5, atol=1e-7)


@each_way
@each_objective
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_every_way_has_autograds_values_and_gradients(many: Callable, way: Engine, name: str, bn_mode: str) -> None:
    """At random points, in one call and in several."""
    leaks, victim = many(12, bn_mode=bn_mode, dtype=torch.float64)
    objective = Objective(victim, *ALL[name])
    given = [objective.given(leak, leak.labels) for leak in leaks]
    with objective.ready():
        for seed in range(4):
            points = torch.randn(12, 2, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            result = InChunks(objective, [points], given, way)([points], [False] * 12)
            expected = InTurn(objective, given)([points], [False] * 12)
            torch.testing.assert_close(result[0], expected[0], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(result[1][0], expected[1][0], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(result.terms, expected.terms, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(expected.terms.sum(dim=1), expected.value, rtol=1e-10, atol=1e-12)


@each_way
def test_optimised_labels_have_autograds_gradients(many: Callable, way: Engine) -> None:
    leaks, victim = many(12, dtype=torch.float64)
    objective = Objective(victim, SquaredL2(), [])
    given = [objective.given(leak, None) for leak in leaks]
    generator = torch.Generator().manual_seed(1)
    points = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((12, 2, 3, 6, 6), (12, 2, 5))]
    with objective.ready():
        result, expected = (
            evaluator(points, [False] * 12)
            for evaluator in (InChunks(objective, points, given, way), InTurn(objective, given))
        )
    torch.testing.assert_close(result[0], expected[0], rtol=1e-10, atol=1e-12)
    for slope, expected_slope in zip(result[1], expected[1], strict=True):
        torch.testing.assert_close(slope, expected_slope, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("key", ["dlg", "idlg", "inverting_gradients", "gradinversion.fidelity", "gradinversion.no_bn"])
def test_trials_side_by_side_end_where_each_ends_alone(many: Callable, key: str) -> None:
    leaks, victim = many(3, dtype=torch.float64)
    attack = create_attack(f"{key}[restarts=2]")
    alone = [attack.reconstruct(leak, victim, seed=seed, budget=40) for seed, leak in enumerate(leaks)]
    attack.engine = Engine(together=4)
    together = attack.reconstruct_together(leaks, victim, seeds=range(3), budget=40)
    assert [run.engine for run in together] == ["eager, 4 together"] * 3
    for packed, single in zip(together, alone, strict=True):
        torch.testing.assert_close(packed.images, single.images, rtol=1e-6, atol=1e-6)
        assert (packed.evaluations, packed.labels.tolist()) == (single.evaluations, single.labels.tolist())


@pytest.mark.parametrize(
    ("key", "together"),
    [("dlg", 4), ("dlg", 8), ("idlg", 8), ("inverting_gradients", 8), ("gradinversion.fidelity", 4)],
)
def test_the_company_of_a_trial_changes_no_bit_of_it(many: Callable, key: str, together: int) -> None:
    """Neither how many there are, nor its place among them, nor what they are.

    Not for three together here: PyTorch rounds the sigmoids of the last elements of a tensor in another way where their
    number is no multiple of 16, and a layer of this network has 360 a candidate.
    """
    leaks, victim = many(8)
    attack = create_attack(key)
    attack.engine = Engine(together=together)
    alone = [attack.reconstruct(leak, victim, seed=seed, budget=40) for seed, leak in enumerate(leaks)]
    for order in ([7, 6, 5, 4, 3, 2, 1, 0], [3, 0], [6, 1, 4, 0, 3]):
        packed = attack.reconstruct_together([leaks[i] for i in order], victim, seeds=order, budget=40)
        for reconstruction, index in zip(packed, order, strict=True):
            assert torch.equal(reconstruction.images, alone[index].images)
            assert torch.equal(reconstruction.final, alone[index].final)
            assert reconstruction.curve == alone[index].curve


def test_fillers_cost_no_evaluation_where_autograd_steps_in(
    many: Callable, evaluated: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight are asked for together, one is there, and no program can be made: it is evaluated alone."""
    (leak,), victim = many(1)
    attack = create_attack("inverting_gradients")
    attack.engine = Engine(together=8)
    monkeypatch.setattr(programs, "_traced", None)
    with pytest.warns(UserWarning, match="engine: eager in place of eager, 8 together"):
        reconstruction = attack.reconstruct(leak, victim, seed=0, budget=10)
    assert reconstruction.evaluations == len(evaluated) == 10


def test_candidates_that_do_not_fill_a_call_are_refused(many: Callable) -> None:
    leaks, victim = many(5)
    objective = Objective(victim, SquaredL2(), [])
    given, points = [objective.given(leak, leak.labels) for leak in leaks], torch.zeros(5, 2, 3, 6, 6)
    with pytest.raises(ValueError, match="5 candidates do not fill calls of 4"):
        InChunks(objective, [points], given, Engine(together=4))
    assert [Engine(together=4).fillers(count) for count in (1, 4, 5)] == [3, 0, 3]


def test_a_trial_that_ends_early_leaves_the_others_their_budget(many: Callable) -> None:
    leaks, victim = many(2)
    broken = replace(leaks[0], gradients={name: value * torch.nan for name, value in leaks[0].gradients.items()})
    attack = create_attack("idlg")
    attack.labels = replace(attack.labels, always_infer=False)
    attack.engine = Engine(together=2)
    diverged, fine = attack.reconstruct_together([broken, leaks[1]], victim, seeds=[0, 1], budget=120)
    assert (diverged.diverged, fine.diverged) == (True, False)
    assert diverged.evaluations < fine.evaluations == 120


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The width of every program that was made."""
    widths: list[int] = []
    original = programs._traced
    monkeypatch.setattr(
        programs, "_traced", lambda o, width, *rest: (widths.append(width), original(o, width, *rest))[1]
    )
    return widths


def test_one_program_serves_restarts_images_attacks_of_one_key_and_the_controls(many: Callable, traced: list) -> None:
    leaks, victim = many(3)
    for leak in leaks:
        attack = create_attack("gradinversion.fidelity[restarts=2]")
        attack.engine = Engine("captured")
        copied = Victim(victim.module, family=victim.family)
        attack.reconstruct(leak, copied, seed=1, budget=4)
    assert traced == [1]
    other = create_attack("gradinversion.fidelity[alpha_tv=0.5]")
    other.engine = Engine("captured")
    other.reconstruct(leaks[0], victim, seed=1, budget=2)
    other.reconstruct(leaks[0], Victim(victim.module), seed=1, budget=2)
    assert traced == [1, 1, 1]  # another objective, and a network that might be another


class Wild(Distance):
    """What it computes depends on the host: a program remembers the first call."""

    calls = 0

    def value(self, gradients: list[Tensor], prepared: list[Tensor]) -> Tensor:
        Wild.calls += 1
        return Wild.calls * torch.stack([gradient.square().sum() for gradient in gradients]).sum()


class Branching(Prior):
    """Asks a value of the host, which no tracer can follow."""

    def __call__(self, candidate: Candidate) -> Tensor:
        return candidate.images.sum() * (1 if candidate.images.mean().item() > 0 else 2)


@pytest.mark.parametrize(
    ("distance", "prior", "reason"), [(Wild(), None, "differ from autograd's by"), (SquaredL2(), Branching(1.0), "")]
)
def test_what_cannot_be_a_program_falls_back_aloud(
    many: Callable, distance: Distance, prior: Prior | None, reason: str
) -> None:
    (leak,), victim = many(1)
    attack = create_attack("inverting_gradients")
    attack.distance, attack.priors, attack.engine = distance, [prior] if prior else [], Engine("captured", together=2)
    with pytest.warns(UserWarning, match="engine: eager in place of captured, 2 together: .*" + reason):
        result = attack.reconstruct(leak, victim, seed=1, budget=4)
    assert result.engine == "eager"
    assert result.notes[0].startswith("engine: eager in place of captured, 2 together")


def test_the_compiled_program_is_autograd(make_images: Callable, make_leak: Callable) -> None:
    """Needs a C++ compiler; without one it falls back aloud, and that is what is tested then.

    Of a network with a grouped convolution, which is another operation here, and little else: each takes seconds.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, groups=3), nn.Sigmoid(), nn.Flatten(), nn.Linear(24, 5))
    leaks = [make_leak(net, make_images(2, seed=seed), torch.tensor([3, 1])) for seed in (20, 21)]
    victim = Victim(net)
    attack = create_attack("inverting_gradients")
    expected = [attack.reconstruct(leak, victim, seed=1, budget=3) for leak in leaks]
    attack.engine = Engine("compiled", together=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = attack.reconstruct_together(leaks, victim, seeds=[1, 1], budget=3)
    fell_back = any("engine: eager in place" in str(warning.message) for warning in caught)
    assert fell_back == (shutil.which("g++") is None)
    assert result[0].engine == ("eager" if fell_back else "compiled, 2 together")
    for actual, wanted in zip(result, expected, strict=True):
        assert actual.objective_end == pytest.approx(wanted.objective_end, rel=1e-4)


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_is_near_and_not_equal(case: Callable, precision: str) -> None:
    leak, victim = case(bn=False, statistics="none")
    attack = create_attack("inverting_gradients")
    exact = attack.reconstruct(leak, victim, seed=1, budget=3)
    attack.engine = Engine(precision=precision)
    coarse = attack.reconstruct(leak, victim, seed=1, budget=3)
    assert coarse.engine == f"eager, {precision}"
    assert coarse.objective_start == pytest.approx(exact.objective_start, rel=0.05)
    assert coarse.objective_start != exact.objective_start


def test_rounding_on_cuda_is_switched_for_the_attack_alone() -> None:
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    for precision, allowed in (("float32", False), ("tf32", True), ("bf16", False)):
        with Engine(precision=precision).numerics():
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_a_term_of_weight_zero_costs_no_gradient(case: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    leak, victim = case()
    monkeypatch.setattr(Victim, "update", None)
    result = create_attack("gradinversion.fidelity[alpha_grad=0]").reconstruct(leak, victim, seed=0, budget=3)
    assert "gradient" not in result.uses
    assert result.objective_end <= result.objective_start


class PretendedGraph:
    """Stands in for a CUDA graph: what is replayed is the program, on whatever its own inputs hold by then."""

    def __init__(self) -> None:
        self.replay: Callable[[], None] = lambda: None


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and graphs that do nothing."""
    stream = type("Stream", (), {"wait_stream": lambda self, other: None})
    for name, stand_in in {
        "Stream": stream,
        "current_stream": stream,
        "stream": lambda _: nullcontext(),
        "CUDAGraph": PretendedGraph,
        "graph": lambda _: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)


def test_a_captured_program_sees_new_inputs_and_changed_ones_and_copies_no_others(without_cuda: None) -> None:
    def program(images: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        value = (images - target).square().sum()
        return value, [2 * (images - target)], value[None]

    images, target, far = torch.ones(2), torch.zeros(2), torch.full((2,), 5.0)
    captured = programs.Captured(program, [images, target])

    def replay() -> None:
        value, (slope,), _ = program(*captured.static)
        captured.result[0].copy_(value)
        captured.result[1][0].copy_(slope)

    captured.graph.replay = replay
    assert captured(images, target)[0].item() == 2.0
    images += 1
    assert captured(images, target)[0].item() == 8.0
    assert captured(images, far)[0].item() == 18.0
    assert captured(images, target)[1][0].tolist() == [4.0, 4.0]
    captured.static[1].fill_(7.0)  # an input that is the same tensor, unchanged, is not copied again
    assert captured(images, target)[1][0].tolist() == [-10.0, -10.0]
    assert images.tolist() == [2.0, 2.0]
    assert target.tolist() == [0.0, 0.0]
