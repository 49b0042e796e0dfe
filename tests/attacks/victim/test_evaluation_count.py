"""Evaluations are counted where they are made, in the ways in which attacks are really written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.update import cross_entropy
from gradinv.attacks.victim import Victim

STEPS = 5
LABELS = torch.tensor([0, 1])


@pytest.fixture
def victim() -> Victim:
    """A network of two layers."""
    return Victim(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Sigmoid(), nn.Linear(6, 3)))


def by_backward(victim: Victim, images: Tensor) -> None:
    """As DLG's authors write it: the second backward pass leaves gradients at the parameters too."""
    gradients = torch.autograd.grad(cross_entropy(victim.module(images), LABELS), victim.parameters, create_graph=True)
    sum(gradient.square().sum() for gradient in gradients).backward()


def by_autograd(victim: Victim, images: Tensor) -> None:
    gradients = torch.autograd.grad(cross_entropy(victim.module(images), LABELS), victim.parameters, create_graph=True)
    torch.autograd.grad(sum(gradient.square().sum() for gradient in gradients), images)


def by_the_victim(victim: Victim, images: Tensor) -> None:
    torch.autograd.grad(sum(gradient.square().sum() for gradient in victim.update(images, LABELS)), images)


def by_the_victim_and_backward(victim: Victim, images: Tensor) -> None:
    sum(gradient.square().sum() for gradient in victim.update(images, LABELS)).backward()


def without_graph(victim: Victim, images: Tensor) -> None:
    """A search that only compares gradients."""
    torch.autograd.grad(cross_entropy(victim.module(images), LABELS), victim.parameters)


def of_the_last_parameter(victim: Victim, images: Tensor) -> None:
    torch.autograd.grad(cross_entropy(victim.module(images), LABELS), victim.parameters[-1], create_graph=True)


def by_gradient_fields(victim: Victim, images: Tensor) -> None:
    cross_entropy(victim.module(images), LABELS).backward()


@pytest.mark.parametrize(
    "step",
    [
        by_backward,
        by_autograd,
        by_the_victim,
        by_the_victim_and_backward,
        without_graph,
        of_the_last_parameter,
        by_gradient_fields,
    ],
)
def test_every_way_of_writing_a_step_is_one_evaluation(victim: Victim, step: Callable[..., None]) -> None:
    for _ in range(STEPS):
        step(victim, torch.rand(2, 3, 2, 2, requires_grad=True))
    assert victim.evaluations.spent == STEPS
    victim.evaluations.restart()
    assert victim.evaluations.spent == 0


def test_a_forward_pass_is_none(victim: Victim) -> None:
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    victim.module(images).sum().backward(inputs=[images])
    with torch.no_grad():
        victim.module(images)
    assert victim.evaluations.spent == 0


def test_what_is_paused_counts_as_much_as_is_added(victim: Victim) -> None:
    with victim.evaluations.paused():
        by_backward(victim, torch.rand(2, 3, 2, 2, requires_grad=True))
        by_the_victim(victim, torch.rand(2, 3, 2, 2, requires_grad=True))
    assert victim.evaluations.spent == 0
    victim.evaluations.add(7)
    assert victim.evaluations.spent == 7
