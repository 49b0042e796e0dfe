"""Soteria: scores against a direct computation, columns counted, every other tensor exact, on two architectures."""

import math

import pytest
import torch
from torch import Tensor, nn

from gradinv.benchmark.defenses import UndefendableError, create_defense
from gradinv.benchmark.defenses.soteria import feature_scores
from gradinv.benchmark.experiment.client import ClientUpdate, client_update
from gradinv.benchmark.victims.networks import build_network

VICTIMS = {"lenet_dlg": "fc", "mobilenetv3_small_050": "classifier"}


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 4, 2])


def sent(module: nn.Module, key: str) -> ClientUpdate:
    return client_update(module, *batch(), bn_mode="eval", defense=create_defense(key), seed=0)


@pytest.mark.parametrize("bias", [0.0, -5.0])
def test_scores_are_those_of_a_direct_computation_and_finite_at_zero(bias: float) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6), nn.ReLU())
    body[1].bias.data[:3] = bias * 10  # with -50 three features are zero, as is their slope
    module = nn.Sequential(body, nn.Linear(6, 5))
    images, _ = batch()
    expected = torch.zeros(6)
    for image in images:
        features = body(image[None])[0]
        jacobian = torch.autograd.functional.jacobian(lambda x: body(x[None])[0], image).flatten(1)
        expected += jacobian.norm(dim=1) / (features.abs() + 0.1)
    scores = feature_scores(module, "1", images)
    assert scores.isfinite().all()
    torch.testing.assert_close(scores, expected.detach(), rtol=1e-4, atol=1e-6)
    assert (scores[:3] == 0).all() == (bias < 0)


@pytest.mark.parametrize(("name", "ratio"), [("lenet_dlg", 0.3), ("lenet_dlg", 0.6), ("mobilenetv3_small_050", 0.6)])
def test_columns_of_the_classifier_are_zeroed_and_nothing_else(name: str, ratio: float) -> None:
    module = build_network(name, num_classes=5, image_size=32, seed=0, untrained=True)
    update, layer = sent(module, f"soteria[ratio={ratio}]"), VICTIMS[name]
    scores = feature_scores(module, layer, batch()[0])
    count = math.floor(ratio * len(scores))
    weight, plain = update.sent[f"{layer}.weight"], update.computed[f"{layer}.weight"]
    zeroed = (weight == 0).all(dim=0)
    assert zeroed.sum() == count
    assert scores[zeroed].max() <= scores[~zeroed].min()
    assert torch.equal(weight[:, ~zeroed], plain[:, ~zeroed])
    others = [n for n in update.sent if n != f"{layer}.weight"]
    assert all(torch.equal(update.sent[n], update.computed[n]) for n in others)


def test_a_network_without_a_classifier_is_refused() -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3 * 32 * 32, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1)) / 2

    with pytest.raises(Exception, match="soteria defends the classifier") as caught:
        sent(Halved(), "soteria")
    assert isinstance(caught.value.__cause__, UndefendableError)
