"""The share of parameters without any gradient, on a ResNet that timm initialises with and without zeros."""

import torch
from torch import nn

from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.requirements import require_two_derivatives
from gradinv.benchmark.victims.zero_gradients import zero_gradient_share


def test_it_counts_the_parameters_of_dead_tensors() -> None:
    zero_initialised = build_network("resnet18", num_classes=4, image_size=32, untrained=False)
    assert zero_gradient_share(require_two_derivatives(zero_initialised, (3, 32, 32), "it")) > 0.8
    alive = build_network("resnet18", num_classes=4, image_size=32, untrained=True)
    assert zero_gradient_share(require_two_derivatives(alive, (3, 32, 32), "it")) == 0


def test_a_parameter_that_the_loss_does_not_reach_is_dead_and_a_frozen_one_does_not_count() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    network.idle = nn.Identity()
    network.idle.weight = nn.Parameter(torch.ones(26))
    network.idle.frozen = nn.Parameter(torch.ones(100), requires_grad=False)
    assert zero_gradient_share(require_two_derivatives(network, (3, 2, 2), "it")) == 0.5
