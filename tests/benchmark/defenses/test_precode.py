"""PRECODE: the same function without noise, the client's own draw, and no protection of an FC-first network."""

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching import Objective, SquaredL2
from gradinv.attacks.known_defense import KnownDefense
from gradinv.attacks.leak import Leak
from gradinv.attacks.victim import Victim
from gradinv.benchmark.defenses import UndefendableError, create_defense
from gradinv.benchmark.experiment.client import client_update, self_check
from gradinv.benchmark.victims.networks import build_network


class FullyConnected(nn.Module):
    """Three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU())
        self.fc = nn.Linear(50, 5)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return FullyConnected()


def test_without_noise_it_is_the_same_function(module: nn.Module, images: Tensor) -> None:
    extended = create_defense("precode[scale=0,width=64]").on_model(module)
    torch.testing.assert_close(extended(images), module(images), rtol=1e-4, atol=1e-5)
    # A narrow bottleneck is another function.
    narrow = create_defense("precode[scale=0,width=8]").on_model(module)
    assert (narrow(images) - module(images)).abs().max() > 1e-2


def test_on_a_timm_model_too() -> None:
    network = build_network("resnet18", num_classes=5, image_size=32, seed=0, untrained=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    extended = create_defense("precode[scale=0,width=512]").on_model(network)
    torch.testing.assert_close(extended(images), network(images), rtol=1e-3, atol=1e-4)
    assert "fc.bottleneck.encoder.weight" in dict(extended.named_parameters())


def test_the_client_draws_and_the_check_knows_its_draw(module: nn.Module, images: Tensor) -> None:
    defense, labels = create_defense("precode[width=64]"), torch.tensor([0, 3])
    extended = defense.on_model(module)
    first, again, other = (
        client_update(extended, images, labels, bn_mode="eval", defense=defense, seed=seed) for seed in (0, 0, 1)
    )
    name = "fc.head.weight"
    assert torch.equal(first.sent[name], again.sent[name])
    assert not torch.allclose(first.sent[name], other.sent[name])
    assert not torch.allclose(first.sent[name], first.undefended[name])
    # The network that the server has holds no draw.
    assert not extended.fc.bottleneck.noise.any()
    self_check(first, Victim(extended))


@pytest.mark.parametrize("key", ["dp_sgd[max_norm=1e9,sigma=0]", "secure_aggregation[clients=2]"])
def test_who_computes_the_update_anew_does_it_with_what_was_drawn(key: str, module: nn.Module, images: Tensor) -> None:
    labels = torch.tensor([0, 3])
    sent = []
    for text in ("precode[width=64]", f"precode[width=64]+{key}"):
        defense = create_defense(text)
        extended = defense.on_model(module)
        sent.append(client_update(extended, images, labels, bn_mode="eval", defense=defense, seed=0).sent)
    for name, value in sent[0].items():
        torch.testing.assert_close(sent[1][name], value, rtol=1e-4, atol=1e-6)


def test_a_clipped_candidate_with_the_true_noise_meets_the_update(module: nn.Module, images: Tensor) -> None:
    defense = create_defense("precode[width=64]+clipping[max_norm=0.01]")
    extended = defense.on_model(module)
    update = client_update(extended, images[:1], torch.tensor([3]), bn_mode="eval", defense=defense, seed=0)
    victim = Victim(extended)
    known = KnownDefense(defense.known(), victim)
    observed, candidate = ([part[name] for name in victim.parameter_names] for part in (update.sent, update.computed))
    for expected, compared in zip(known.expected(candidate, observed), known.compared(observed), strict=True):
        torch.testing.assert_close(expected, compared, rtol=1e-4, atol=1e-6)


def test_the_ratio_of_the_first_layer_is_exact_whatever_the_bottleneck(module: nn.Module, images: Tensor) -> None:
    defense = create_defense("precode[scale=10,width=64]")
    update = client_update(
        defense.on_model(module), images[:1], torch.tensor([3]), bn_mode="eval", defense=defense, seed=0
    ).sent
    weight, bias = update["body.1.weight"], update["body.1.bias"]
    row = bias.abs().argmax()
    error = (weight[row] / bias[row] - images[0].flatten()).square().mean()
    assert error < 1e-10  # above 100 dB
    # Control: the same rule on the bottleneck's own layer gives no image of the features' mean.
    assert update["fc.bottleneck.encoder.bias"].abs().max() > 0


def test_a_network_without_a_linear_classifier_is_refused() -> None:
    with pytest.raises(UndefendableError, match="before a linear classifier"):
        create_defense("precode").on_model(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))


def test_the_slope_for_the_noise_is_that_of_finite_differences_and_of_a_program(
    module: nn.Module, images: Tensor
) -> None:
    defense, labels = create_defense("precode[width=16]"), torch.tensor([0, 3])
    extended = defense.on_model(module.double())
    sent = client_update(extended, images.double(), labels, bn_mode="eval", defense=defense, seed=0).sent
    victim, half = Victim(extended), (0.5,) * 3
    objective = Objective(victim, SquaredL2(), [], transform=defense.known())
    given = objective.given(Leak(sent, 2, (3, 8, 8), 5, half, half, transform=defense.known()), labels)
    candidate = [images.double() + 0.1, torch.full((2, 16), 0.3, dtype=torch.float64)]
    evaluated = objective.evaluate(candidate, given)
    value, slopes, _ = objective.functional(candidate, given, victim.state)
    torch.testing.assert_close(value, evaluated.value)
    along = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ahead, behind = (
        objective.evaluate([candidate[0], candidate[1] + step * along], given).value for step in (1e-6, -1e-6)
    )
    for slope in (slopes[1], evaluated.slopes[1]):
        assert slope is not None
        torch.testing.assert_close((slope * along).sum(), (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-8)
