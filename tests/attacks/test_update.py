"""What a client sends as a function of its batch: its two ways of computing agree, and can be differentiated."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.update import UPDATES, Update, create_update, cross_entropy
from gradinv.attacks.victim import Victim
from gradinv.metrics.registry import UnknownNameError

LABELS = torch.tensor([3, 0, 4])
LOCAL = (
    "lr=0.0001",
    "epochs=3,lr=0.0001,minibatch=1",
    "epochs=9,lr=0.0001,order=unknown",
    "epochs=2,lr=0.0001,minibatch=1,momentum=0.9,order=shuffled",
)


class TwoSteps(Update):
    """The change of the weights over two steps of SGD: another kind of update, written from outside."""

    rate = 1e-3

    def compute(self, logits, parameters, images, labels, *, create_graph):
        moved = dict(parameters)
        for _ in range(2):
            loss = cross_entropy(logits(moved, images), labels)
            slopes = torch.autograd.grad(loss, list(moved.values()), create_graph=True)
            moved = {name: moved[name] - self.rate * g for name, g in zip(moved, slopes, strict=True)}
        return tuple(moved[name] - parameters[name] for name in parameters)

    def functional(self, logits, parameters, images, labels):
        def loss(moved):
            outputs, aside = logits(moved, images)
            return cross_entropy(outputs, labels), aside

        moved, aside = dict(parameters), None
        for _ in range(2):
            slopes, aside = torch.func.grad(loss, has_aux=True)(moved)
            moved = {name: moved[name] - self.rate * slopes[name] for name in moved}
        return [moved[name] - parameters[name] for name in parameters], aside

    def as_gradient(self, sent, batch_size):
        return {name: -value / (2 * self.rate) for name, value in sent.items()}


@pytest.fixture(params=["gradient", "two_steps", "weight_update", *(f"weight_update[{local}]" for local in LOCAL)])
def update(request, monkeypatch):
    """Our update, and one from outside."""
    monkeypatch.setattr("gradinv.attacks.update.UPDATES", {**UPDATES, "two_steps": TwoSteps})
    return request.param


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_both_ways_of_computing_agree(make_net, make_images, update, bn_mode):
    victim, images = Victim(make_net(), bn_mode=bn_mode, update=update), make_images(3)
    by_autograd = victim.update(images, LABELS)
    by_func, _ = victim.functional_update(images, LABELS, victim.state, {})
    for value, expected in zip(by_func, by_autograd, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_it_can_be_differentiated_for_the_images(make_net, make_images, update):
    victim = Victim(make_net(dtype=torch.float64), update=update)
    images = make_images(3, dtype=torch.float64)
    direction = make_images(3, seed=1, dtype=torch.float64)

    def length(x):
        return torch.stack([value.square().sum() for value in victim.update(x, LABELS)]).sum()

    leaf = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(length(leaf), leaf)
    numeric = (length(images + 1e-5 * direction) - length(images - 1e-5 * direction)) / 2e-5
    torch.testing.assert_close((slope * direction).sum(), numeric.detach(), rtol=1e-6, atol=1e-9)


def test_label_rules_read_it_as_a_gradient(make_net, make_images, update):
    victim, images = Victim(make_net(), update=update), make_images(3)
    sent = dict(zip(victim.parameter_names, victim.update(images, LABELS), strict=True))
    gradient = dict(zip(victim.parameter_names, Victim(make_net()).update(images, LABELS), strict=True))
    for name, value in create_update(update).as_gradient(sent, 3).items():
        torch.testing.assert_close(value, gradient[name], rtol=0.2, atol=0.02)


def test_an_unknown_update_is_refused():
    with pytest.raises(UnknownNameError, match="unknown update 'fedavg'"):
        create_update("fedavg")
    with pytest.raises(ValidationError, match="unknown update 'gradients'; did you mean gradient"):
        ThreatModel(update="gradients")


def test_cross_entropy_is_torchs():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    labels, soft = torch.tensor([0, 4, 2, 2]), torch.softmax(logits.flip(0), dim=1)
    assert torch.equal(cross_entropy(logits, labels), nn.functional.cross_entropy(logits, labels))
    torch.testing.assert_close(cross_entropy(logits, soft), nn.functional.cross_entropy(logits, soft))
