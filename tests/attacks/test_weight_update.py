"""A weight update is what PyTorch's own optimizer leaves, can be differentiated, and need not keep all of its steps."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gradinv.attacks import update as update_module
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.update import canonical_update, create_update, known_update
from gradinv.attacks.victim import Victim
from gradinv.metrics.registry import InvalidEntryError

LABELS = torch.tensor([3, 0, 4, 1, 3])
EVERY = [
    {"lr": 0.05},
    {"lr": 0.05, "epochs": 4},
    {"lr": 0.05, "epochs": 2, "minibatch": 2},
    {"lr": 0.05, "epochs": 3, "minibatch": 2, "momentum": 0.9},
    {"lr": 0.05, "epochs": 2, "minibatch": 3, "weight_decay": 0.1},
    {"lr": 0.05, "epochs": 8, "momentum": 0.5, "weight_decay": 0.1},
]


def key_of(settings):
    return f"weight_update[{','.join(f'{name}={value}' for name, value in settings.items())}]"


def by_torch(net, images, *, lr, epochs=1, minibatch=None, momentum=0.0, weight_decay=0.0):
    """The change of the weights in a plain loop with torch.optim.SGD."""
    network = copy.deepcopy(net)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    for _ in range(epochs):
        for start in range(0, len(images), minibatch or len(images)):
            part = slice(start, start + (minibatch or len(images)))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[part]), LABELS[part]).backward()
            optimizer.step()
    return [(a - b).detach() for a, b in zip(net.parameters(), network.parameters(), strict=True)]


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_it_is_what_torchs_optimizer_leaves(make_net, make_images, settings):
    net, images = make_net(dtype=torch.float64), make_images(5, dtype=torch.float64)
    expected = by_torch(net, images, **settings)
    victim = Victim(net, update=key_of(settings))
    for value, other in zip(victim.update(images, LABELS), expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("settings", EVERY[2:], ids=str)
def test_its_derivative_for_the_images_is_a_finite_difference(make_net, make_images, settings):
    victim = Victim(make_net(dtype=torch.float64), update=key_of(settings))
    images, direction = make_images(5, dtype=torch.float64), make_images(5, seed=1, dtype=torch.float64)

    def length(x):
        return torch.stack([value.square().sum() for value in victim.update(x, LABELS)]).sum()

    leaf = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(length(leaf), leaf)
    numeric = (length(images + 1e-5 * direction) - length(images - 1e-5 * direction)) / 2e-5
    torch.testing.assert_close((slope * direction).sum(), numeric.detach(), rtol=1e-5, atol=1e-10)


def test_one_step_and_many_small_ones_are_the_gradient_times_their_rates(make_net, make_images):
    net, images = make_net(dtype=torch.float64), make_images(5, dtype=torch.float64)
    gradient = Victim(net).update(images, LABELS)
    for settings, tolerance in (({"lr": 0.5}, 1e-10), ({"lr": 1e-7, "epochs": 4, "momentum": 0.9}, 1e-4)):
        victim = Victim(net, update=key_of(settings))
        sent = dict(zip(victim.parameter_names, victim.update(images, LABELS), strict=True))
        for value, other in zip(victim.update_kind.as_gradient(sent, 5).values(), gradient, strict=True):
            torch.testing.assert_close(value, other, rtol=tolerance, atol=tolerance)


def test_a_shuffled_order_is_another_one_in_every_epoch_and_always_the_same(make_net, make_images):
    net, images = make_net(dtype=torch.float64), make_images(5, dtype=torch.float64)
    kind = create_update("weight_update[epochs=3,lr=0.5,minibatch=1,order=shuffled]")
    drawn = kind._minibatches(5)
    epochs = [drawn[start : start + 5] for start in (0, 5, 10)]
    assert all(sorted(epoch) == [[slot] for slot in range(5)] for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) == 3
    assert kind._minibatches(5) == drawn
    in_order, shuffled = (
        Victim(net, update=f"weight_update[lr=0.5,minibatch=1,order={order}]").update(images, LABELS)
        for order in ("slots", "shuffled")
    )
    assert not torch.allclose(in_order[0], shuffled[0])


def test_an_attacker_who_does_not_know_the_order_takes_all_images_in_every_step(make_net, make_images):
    net, images = make_net(dtype=torch.float64), make_images(5, dtype=torch.float64)
    weak = Victim(net, update="weight_update[epochs=2,lr=0.05,minibatch=2,order=unknown]").update(images, LABELS)
    for value, other in zip(weak, by_torch(net, images, lr=0.05, epochs=6), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-13)


def test_saving_memory_changes_no_bit(make_net, make_images, monkeypatch):
    victim = Victim(make_net(), update="weight_update[epochs=8,lr=0.05]")
    slopes, kept = [], []
    for threshold in (8, 9):
        monkeypatch.setattr(update_module, "CHECKPOINTED", threshold)
        leaf, held = make_images(5).requires_grad_(), {}

        def keep(tensor, held=held):
            held[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            update = victim.update(leaf, LABELS)
        total = torch.stack([value.square().sum() for value in update]).sum()
        slopes.append(torch.autograd.grad(total, leaf)[0])
        kept.append(sum(held.values()))
    assert torch.equal(*slopes)
    assert kept[0] < kept[1] / 2


@pytest.mark.parametrize("epochs", [2, 8])
def test_it_is_one_evaluation_however_many_steps_it_takes(make_net, make_images, epochs):
    victim, leaf = Victim(make_net(), update=f"weight_update[epochs={epochs},lr=0.05]"), make_images(5).requires_grad_()
    total = torch.stack([value.square().sum() for value in victim.update(leaf, LABELS)]).sum()
    torch.autograd.grad(total, leaf)
    assert victim.evaluations.spent == 1


def test_keys_are_canonical_and_what_is_wrong_is_said_in_one_line():
    assert canonical_update("weight_update[lr=0.1,epochs=2]") == "weight_update[epochs=2,lr=0.1]"
    assert ThreatModel(update="weight_update[lr=0.1,epochs=2]").update == "weight_update[epochs=2,lr=0.1]"
    with pytest.raises(InvalidEntryError, match="give lr as well"):
        canonical_update("weight_update[epochs=2]")
    with pytest.raises(InvalidEntryError, match="greater than 0"):
        canonical_update("weight_update[lr=0]")
    with pytest.raises(ValidationError, match="unknown parameter of update 'weight_update' 'rate'"):
        ThreatModel(update="weight_update[rate=0.1]")
    with pytest.raises(ValidationError, match="unknown level of simulation 'week'; did you mean weak"):
        ThreatModel(simulation="week")


@pytest.mark.parametrize(
    ("simulation", "known"),
    [
        ("strong", "weight_update[epochs=2,lr=0.1,minibatch=2]"),
        ("weak", "weight_update[epochs=2,lr=0.1,minibatch=2,order=unknown]"),
        ("none", "weight_update"),
    ],
)
def test_what_is_withheld_of_the_local_training_stands_in_no_leak(simulation, known):
    model = ThreatModel(update="weight_update[lr=0.1,epochs=2,minibatch=2]", simulation=simulation)
    assert model.as_granted().update == known
    assert known_update(known, simulation) == known  # to withhold twice withholds no more
    assert create_update(known).has_scale == (simulation != "none")
    assert (create_update(known).reason_no_client is None) == (simulation == "strong")
