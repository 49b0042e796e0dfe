"""What an attack may ask of a network: gradients, twice; batch-norm statistics; the classifier; no traces left."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.victim import FrozenNetworkError, Victim, bn_layers

LABELS = torch.tensor([3, 0, 4])


class ConvHead(nn.Module):
    """A classifier that is a 1x1 convolution, and a linear layer that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 5, 1)
        self.unrelated = nn.Linear(2, 2)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean(dim=(2, 3), keepdim=True)).flatten(1)


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in module.modules())


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_gradients_equal_backward_of_a_plain_copy(make_net: Callable, make_images: Callable, bn_mode: str) -> None:
    net, images = make_net(), make_images(3)
    plain = copy.deepcopy(net).train(bn_mode == "train")
    nn.functional.cross_entropy(plain(images), LABELS).backward()
    victim = Victim(net, bn_mode=bn_mode)
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    assert victim.parameter_names == list(expected)
    for gradient, name in zip(victim.update(images, LABELS), victim.parameter_names, strict=True):
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_the_second_derivative_equals_a_finite_difference(
    make_net: Callable, make_images: Callable, bn_mode: str
) -> None:
    victim = Victim(make_net(dtype=torch.float64), bn_mode=bn_mode)
    images, direction = make_images(3, dtype=torch.float64), make_images(3, seed=1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in victim.parameters]

    def scalar(x: Tensor) -> Tensor:
        pairs = zip(victim.update(x, LABELS), weights, strict=True)
        return torch.stack([(g * w).sum() + g.square().sum() for g, w in pairs]).sum()

    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(scalar(x), x)
    step = 1e-5
    numeric = (scalar(images + step * direction) - scalar(images - step * direction)) / (2 * step)
    assert numeric.abs() > 1e-3
    torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-6, atol=1e-9)


def test_a_parameter_that_is_not_used_has_a_zero_gradient(make_images: Callable) -> None:
    victim = Victim(ConvHead())
    gradients = dict(zip(victim.parameter_names, victim.update(make_images(3), LABELS), strict=True))
    assert not gradients["unrelated.weight"].any()
    assert gradients["head.weight"].any()


def numpy_statistics(net: nn.Module, images: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and biased variance of SmallNet's batch-norm inputs, by NumPy, in eval mode."""
    first = net.first(images)
    second = net.second(net.early(first).sigmoid())
    arrays = {"late": second.detach().numpy(), "early": first.detach().numpy()}
    return {name: (a.mean(axis=(0, 2, 3)), a.var(axis=(0, 2, 3), ddof=0)) for name, a in arrays.items()}


def test_bn_statistics_equal_numpy_in_module_order_not_in_call_order(make_net: Callable, make_images: Callable) -> None:
    net, images = make_net(dtype=torch.float64), make_images(3, dtype=torch.float64)
    expected = numpy_statistics(net, images)
    found = Victim(net).bn_statistics(images)
    assert len(found) == 2
    for (mean, var), name in zip(found, ("late", "early"), strict=True):
        np.testing.assert_allclose(mean.numpy(), expected[name][0], rtol=1e-10)
        np.testing.assert_allclose(var.numpy(), expected[name][1], rtol=1e-10)


def test_bn_statistics_of_a_timm_resnet_follow_the_names(build: Callable, make_images: Callable) -> None:
    net, images = build("test_resnet"), make_images(2, size=16)
    inputs: dict[str, Tensor] = {}
    plain = copy.deepcopy(net)
    names = [name for name, layer in plain.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    for name in names:
        layer = plain.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0].detach().clone()}))
    plain(images)
    for (mean, var), name in zip(Victim(net).bn_statistics(images), names, strict=True):
        array = inputs[name].double().numpy()
        np.testing.assert_allclose(mean.numpy(), array.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(var.numpy(), array.var(axis=(0, 2, 3)), rtol=1e-3, atol=1e-6)


def test_hooks_are_gone_afterwards_also_after_an_exception(make_net: Callable, make_images: Callable) -> None:
    victim = Victim(make_net())
    victim.bn_statistics(make_images(1))
    assert hooks(victim.module) == 0
    with victim.recording_bn_statistics(active=False):
        assert hooks(victim.module) == 0
    with victim.recording_bn_statistics():
        assert hooks(victim.module) == 2
    assert hooks(victim.module) == 0
    with pytest.raises(RuntimeError):
        victim.bn_statistics(torch.zeros(1, 4, 6, 6))
    assert hooks(victim.module) == 0


def test_train_mode_normalises_by_the_batch(make_net: Callable, make_images: Callable) -> None:
    net, images = make_net(), make_images(3)
    expected = copy.deepcopy(net).train()(images)
    torch.testing.assert_close(Victim(net, bn_mode="train").module(images), expected)
    assert not torch.allclose(Victim(net).module(images), expected)


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_the_callers_module_and_the_running_statistics_stay_to_the_bit(
    make_net: Callable, make_images: Callable, bn_mode: str
) -> None:
    net = make_net()
    net.first.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    victim = Victim(net, bn_mode=bn_mode)
    victim.update(make_images(3), LABELS)
    victim.bn_statistics(make_images(3))
    for parameter in victim.parameters:
        parameter.data.zero_()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {"first.weight", "first.bias"}
    assert not net.training
    for layer, (mean, var) in zip(bn_layers(net), victim.running_statistics, strict=True):
        assert torch.equal(mean, layer.running_mean)
        assert torch.equal(var, layer.running_var)


@pytest.mark.parametrize("frozen", ["first", "late", "head"])
def test_a_frozen_part_is_neither_sent_nor_changes_what_is_sent(
    make_net: Callable, make_images: Callable, frozen: str
) -> None:
    net, images = make_net(), make_images(3)
    every = Victim(net)
    expected = dict(zip(every.parameter_names, every.update(images, LABELS), strict=True))
    getattr(net, frozen).requires_grad_(False)
    victim = Victim(net)
    assert victim.parameter_names == [name for name in expected if not name.startswith(f"{frozen}.")]
    for name, sent in zip(victim.parameter_names, victim.update(images, LABELS), strict=True):
        torch.testing.assert_close(sent, expected[name])
    assert set(victim.state) == set(every.state)


def test_a_network_that_trains_nothing_is_one_line(make_net: Callable) -> None:
    with pytest.raises(FrozenNetworkError, match="every parameter of SmallNet is frozen") as caught:
        Victim(make_net().requires_grad_(False))
    assert "\n" not in str(caught.value)


def test_tied_weights_are_sent_once(make_images: Callable) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 5), nn.Sigmoid(), nn.Linear(5, 5), nn.Sigmoid(), nn.Linear(5, 5))
    net[5].weight = net[3].weight
    victim, images = Victim(net), make_images(3)
    assert victim.parameter_names == ["1.weight", "1.bias", "3.weight", "3.bias", "5.bias"]
    nn.functional.cross_entropy(net(images), LABELS).backward()
    sent = dict(zip(victim.parameter_names, victim.update(images, LABELS), strict=True))
    torch.testing.assert_close(sent["3.weight"], net[3].weight.grad)
