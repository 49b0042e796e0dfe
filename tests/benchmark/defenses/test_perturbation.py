"""CENSOR is orthogonal, layer by layer; Outpost does to each entry what its paper says."""

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching import SquaredL2
from gradinv.benchmark.defenses import ClientStep, create_defense


def step_of(module: nn.Module, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], ClientStep]:
    loss = nn.functional.cross_entropy(module(images), labels)
    names = [name for name, _ in module.named_parameters()]
    update = dict(zip(names, torch.autograd.grad(loss, list(module.parameters())), strict=True))
    return update, ClientStep(module, images, labels, "eval", "gradient", lambda *_: update)


@pytest.fixture
def client() -> tuple[dict[str, Tensor], ClientStep]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 5))
    return step_of(module, 10 * torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 4]))


def test_an_expectation_over_the_noise_has_the_slope_of_the_plain_distance() -> None:
    # Why noise has no adaptive attacker: |g + n - o|^2 is on average |g - o|^2 and a constant. Exact for n and -n.
    generator = torch.Generator().manual_seed(0)
    candidate, observed, noise = (torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(3))
    candidate.requires_grad_(True)
    distance = SquaredL2()
    plain, plus, minus = (distance.value([candidate + n], [observed]) for n in (0 * noise, noise, -noise))
    (expected,) = torch.autograd.grad((plus + minus) / 2, candidate, retain_graph=True)
    torch.testing.assert_close(expected, torch.autograd.grad(plain, candidate)[0])
    torch.testing.assert_close((plus + minus) / 2 - plain, noise.square().sum())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 70.0])
def test_censor_is_orthogonal_and_as_long_at_any_length(
    client: tuple[dict[str, Tensor], ClientStep], scale: float
) -> None:
    # Divided by the length once, the projection is orthogonal at length 1 alone: cosine -.88 at length 70.
    update = {name: scale * value / value.norm() for name, value in client[0].items()}
    sent = create_defense("censor[trials=2]").on_step(update, client[1], torch.Generator().manual_seed(0))
    for name, value in update.items():
        cosine = torch.nn.functional.cosine_similarity(sent[name].flatten().double(), value.flatten().double(), dim=0)
        assert abs(cosine) < 1e-6
        assert sent[name].norm().item() == pytest.approx(value.norm().item(), rel=1e-5)


def test_censor_sends_the_draw_that_the_loss_likes_best(client: tuple[dict[str, Tensor], ClientStep]) -> None:
    update, step = client
    weights = dict(step.module.named_parameters())

    @torch.no_grad()
    def loss(sent: dict[str, Tensor]) -> float:
        moved = {name: weights[name] - 1e-4 * value for name, value in sent.items()}
        logits = torch.func.functional_call(step.module, moved, step.images)
        return float(nn.functional.cross_entropy(logits, step.labels))

    # The same generator goes on from draw to draw, so that one of trials=1 again and again draws the same ones.
    generator = torch.Generator().manual_seed(0)
    single = [create_defense("censor[trials=1]").on_step(update, step, generator) for _ in range(20)]
    best = create_defense("censor[trials=20]").on_step(update, step, torch.Generator().manual_seed(0))
    assert loss(best) == min(map(loss, single))
    assert loss(best) < max(map(loss, single))


def test_censor_has_nothing_to_send_of_one_entry_or_of_zero(client: tuple[dict[str, Tensor], ClientStep]) -> None:
    bias = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    images = torch.randn(2, 3, 4, 4)
    update, step = step_of(bias, images, torch.tensor([0, 0]))
    update = {"1.weight": torch.zeros(1, 48), "1.bias": torch.tensor([3.0])}
    sent = create_defense("censor").on_step(update, step, torch.Generator().manual_seed(0))
    assert not any(value.any() for value in sent.values())


def test_outpost_prunes_the_small_and_noises_the_large_by_the_spread_of_the_weights() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 400), nn.Linear(400, 5))
    module[1].weight.data *= 5  # a variance of 25 / (3 * 48) at PyTorch's initialisation
    update, step = step_of(module, torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 4]))
    defense = create_defense("outpost[noised=0.4,pruned=0.8,scale=0.5]")
    sent = defense.on_step(update, step, torch.Generator().manual_seed(0))
    value, result = update["1.weight"].flatten(), sent["1.weight"].flatten()
    order = value.abs().argsort()
    n = len(order)
    assert not result[order[: int(0.6 * n)]].any()
    middle, top = order[int(0.6 * n) : int(0.8 * n)], order[int(0.8 * n) :]
    deviation = 0.5 * module[1].weight.var(correction=0).item()
    assert result[middle[1:]].std().item() == pytest.approx(deviation, rel=0.1)
    assert (result - value)[top].std().item() == pytest.approx(deviation, rel=0.1)
    assert deviation > 0.05


def test_outpost_acts_always_at_first_and_seldom_later(client: tuple[dict[str, Tensor], ClientStep]) -> None:
    update, step = client

    def acted(key: str) -> int:
        sent = [create_defense(key).on_step(update, step, torch.Generator().manual_seed(seed)) for seed in range(100)]
        return sum(not all(torch.equal(each[name], update[name]) for name in update) for each in sent)

    assert acted("outpost") == 100
    assert 30 <= acted("outpost[iteration=8]") <= 70  # probability 1 / 2
