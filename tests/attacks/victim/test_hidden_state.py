"""Tables that a network computes from its weights are never stale and keep their gradient, however weights come in."""

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import Tensor, nn

from gradinv.attacks.victim import HiddenStateError, Victim, forget_hidden_state, private_copy

IMAGES = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2])
KEEPERS = ("attribute", "dictionary", "list", "object", "flag", "late")


class Keeper(nn.Module):
    """A linear classifier whose weight is the exponential of a parameter, computed once and kept in one way of many."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.logarithm, self.passes = way, nn.Parameter(torch.randn(5, 48) * 0.1), 0
        self.kept: Tensor | None = None
        self.by_device: dict[str, Tensor] = {}
        self.several: list[Tensor] = []
        self.holder = SimpleNamespace(weight=None)
        self.is_ready = False

    def weight(self) -> Tensor:
        if self.way == "dictionary":
            if "cpu" not in self.by_device:
                self.by_device["cpu"] = self.logarithm.exp()
            return self.by_device["cpu"]
        if self.way == "list":
            if not self.several:
                self.several.append(self.logarithm.exp())
            return self.several[0]
        if self.way == "object":
            if self.holder.weight is None:
                self.holder.weight = self.logarithm.exp()
            return self.holder.weight
        if self.way == "late":
            if not hasattr(self, "table"):
                self.table = self.logarithm.exp()
            return self.table
        if not self.is_ready if self.way == "flag" else self.kept is None:
            self.kept, self.is_ready = self.logarithm.exp(), True
        return self.kept

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x.flatten(1) @ self.weight().T


class Plain(nn.Module):
    """The same without keeping anything."""

    def __init__(self, logarithm: Tensor) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(logarithm.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.logarithm.exp().T


@pytest.mark.parametrize("way", KEEPERS)
def test_tables_follow_weights_that_are_loaded_changed_and_copied(way: str) -> None:
    network, other = Keeper(way).eval(), torch.randn(5, 48)
    forget_hidden_state(network)
    with torch.no_grad():
        network(IMAGES)
    network.load_state_dict({"logarithm": other})
    torch.testing.assert_close(network(IMAGES), Plain(other)(IMAGES))
    copied = copy.deepcopy(network)  # which PyTorch refuses while a table of a graph is kept
    copied.logarithm.data.add_(1)
    torch.testing.assert_close(copied(IMAGES), Plain(other + 1)(IMAGES))
    torch.testing.assert_close(network(IMAGES), Plain(other)(IMAGES))


@pytest.mark.parametrize("way", KEEPERS)
def test_a_victims_update_is_that_of_a_network_that_keeps_nothing(way: str) -> None:
    network = Keeper(way).eval()
    victim, plain = Victim(network), Victim(Plain(network.logarithm))
    (expected,) = plain.update(IMAGES, LABELS)
    assert expected.abs().max() > 0
    for _ in range(2):
        torch.testing.assert_close(victim.update(IMAGES, LABELS)[0], expected)
    moved = {"logarithm": network.logarithm.detach() + 1}
    torch.testing.assert_close(victim.logits(moved, IMAGES), plain.logits(moved, IMAGES))
    functional, _ = torch.func.vmap(lambda x: victim.functional_update(x, LABELS, victim.state, {}))(IMAGES[None])
    torch.testing.assert_close(functional[0][0], expected)


def test_a_pass_that_raised_leaves_nothing_for_the_next() -> None:
    network = Keeper("attribute").eval()
    forget_hidden_state(network)
    network(IMAGES)
    with pytest.raises(RuntimeError):
        network(torch.zeros(2, 3, 5, 5))
    network.logarithm.data.add_(1)
    torch.testing.assert_close(network(IMAGES), Plain(network.logarithm)(IMAGES))


def test_a_network_that_keeps_no_tensor_gets_no_hook(make_net: Callable, make_images: Callable) -> None:
    network = make_net()
    network.passes = []
    network.register_forward_hook(lambda module, *_: module.passes.append(1))
    forget_hidden_state(network)
    network(make_images(2))
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()) == 1
    network(make_images(2))
    assert len(network.passes) == 2, "what is no table goes on"


def test_a_table_that_nobody_can_renew_is_one_line() -> None:
    network = Keeper("attribute").eval()
    network(IMAGES)
    with pytest.raises(
        HiddenStateError, match=r"Keeper keeps tensors .* \(kept\), .* compute them in forward"
    ) as caught:
        Victim(network)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["levit_128s", "efficientformer_l1", "tiny_vit_5m_224", "efficientvit_m0"])
def test_timms_cached_attention_biases_are_fresh_and_have_their_gradient(model: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=3).eval()
    images = torch.randn(1, 3, 224, 224)
    network(images)  # the biases are kept now, with their graph
    name = next(name for name, _ in network.named_parameters() if name.endswith("attention_biases"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    fresh = timm.create_model(model, num_classes=3).eval()
    fresh.load_state_dict(network.state_dict())
    assert not torch.equal(network(images), fresh(images)), "timm's own is stale, or this test shows nothing"
    victim = Victim(network)
    torch.testing.assert_close(victim.module(images), fresh(images))
    sent = dict(zip(victim.parameter_names, victim.update(images, torch.tensor([1])), strict=True))
    assert sent[name].any()


def test_a_private_copy_shares_nothing(make_net: Callable) -> None:
    network = make_net().train()
    copied = private_copy(network)
    assert not copied.training
    assert network.training
    copied.first.weight.data.zero_()
    assert network.first.weight.any()
