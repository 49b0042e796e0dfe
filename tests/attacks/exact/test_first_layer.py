"""The layer that sees the pixels is found by what enters it; networks without one are told by what they begin with."""

import pytest
import torch
from torch import nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.first_layer import NoFirstLayerError, find_first_layer, reason_without_first_layer
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.victims.networks import build_network

SHAPE, N = (3, 4, 4), 48


def network(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.LazyLinear(5)).eval()


def test_it_is_found_wherever_it_stands_and_whatever_it_is_called():
    found = find_first_layer(network(nn.Dropout(0.5), nn.Flatten(), nn.Linear(N, 7), nn.ReLU()), SHAPE)
    assert (found.weight, found.bias) == ("2.weight", "2.bias")
    for model in ("mlp1000", "mlp_cpa", "mlp6", "mlp300x3", "mlp500x6"):
        built = build_network(model, num_classes=5, image_size=8)
        assert find_first_layer(built.double(), (3, 8, 8)).module is built[1]


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.Conv2d(3, 2, 3), nn.Flatten()], "Sequential begins with Conv2d 0"),
        ([nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(N, 7)], "Sequential begins with BatchNorm2d 0"),
        ([nn.ReLU(), nn.Flatten(), nn.Linear(N, 7)], "needs a fully connected layer that sees the pixels themselves"),
        ([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 7)], "needs a fully connected layer"),
        ([nn.Flatten(), nn.Linear(N, 7, bias=False)], "the first fully connected layer, 1, has no bias"),
        ([nn.Flatten(), nn.Linear(N, 7).requires_grad_(False)], "the first fully connected layer, 1, is frozen"),
    ],
)
def test_what_else_a_network_begins_with_is_said(layers, reason):
    with pytest.raises(NoFirstLayerError) as caught:
        find_first_layer(network(*layers), SHAPE)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_called_again_says_nothing_of_one_input():
    layer = nn.Linear(N, N)
    with pytest.raises(NoFirstLayerError, match="called more than once"):
        find_first_layer(network(nn.Flatten(), layer, nn.ReLU(), layer), SHAPE)


@pytest.mark.parametrize("name", ["ratio", "peeling"])
@pytest.mark.parametrize(("model", "begins"), [("lenet_dlg", "Conv2d"), ("test_vit", "Conv2d")])
def test_such_a_victim_is_skipped_with_the_reason(name, model, begins):
    built = build_network(model, num_classes=5, image_size=32)
    conditions = Conditions(
        ThreatModel(), batch_size=1, num_classes=5, bn_layers=0, trained=False, image_size=32, network=built
    )
    assert f"begins with {begins}" in create_attack(name).reason_to_skip(conditions)
    assert reason_without_first_layer(conditions) == create_attack(name).reason_to_skip(conditions)


def test_several_images_and_batch_norm_in_train_mode_are_skipped():
    sizes = {"num_classes": 5, "trained": False, "image_size": 4}
    normal = network(nn.Flatten(), nn.Linear(N, 7), nn.BatchNorm1d(7))
    normal(torch.rand(2, *SHAPE))
    several = Conditions(ThreatModel(), batch_size=2, bn_layers=1, network=normal, **sizes)
    assert "mixture" in create_attack("ratio").reason_to_skip(several)
    assert create_attack("peeling").reason_to_skip(several) is None
    train = Conditions(ThreatModel(bn_mode="train"), batch_size=2, bn_layers=1, network=normal, **sizes)
    assert "batch norm in train mode" in create_attack("peeling").reason_to_skip(train)
