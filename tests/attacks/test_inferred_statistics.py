"""Statistics without the batch: what is solved from a client's buffers is exact; what is pooled is of the union."""

import copy

import pytest
import torch
from torch import nn

from gradinv.attacks.inferred_statistics import StatisticsError, inferred_statistics, pooled_statistics
from gradinv.attacks.victim import Victim


def buffers_after(net, images, *, passes=1, mode="train"):
    """The buffers of a copy of the network after so many passes by PyTorch's own layers."""
    network = copy.deepcopy(net)
    network.train(mode == "train")
    with torch.no_grad():
        for _ in range(passes):
            network(images)
    return {name: value.clone() for name, value in network.named_buffers()}


def with_momentum(net, momentum):
    for layer in (net.late, net.early):
        layer.momentum = momentum
        layer.num_batches_tracked.fill_(7)
    return net


@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("momentum", [0.1, 0.01, 0.9, 1.0, None])
def test_they_are_the_exact_ones_in_double_precision(make_net, make_images, momentum, batch):
    net = with_momentum(make_net(dtype=torch.float64), momentum)
    images = make_images(batch, dtype=torch.float64)
    victim = Victim(net, bn_mode="train")
    inferred = inferred_statistics(victim, buffers_after(net, images), images.shape)
    for pair, expected in zip(inferred, victim.bn_statistics(images), strict=True):
        for value, exact in zip(pair, expected, strict=True):
            torch.testing.assert_close(value, exact, rtol=1e-9, atol=1e-10)


def test_in_single_precision_they_are_close(make_net, make_images):
    net, images = with_momentum(make_net(), 0.1), make_images(3)
    victim = Victim(net, bn_mode="train")
    inferred = inferred_statistics(victim, buffers_after(net, images), images.shape)
    for pair, expected in zip(inferred, victim.bn_statistics(images), strict=True):
        for value, exact in zip(pair, expected, strict=True):
            torch.testing.assert_close(value, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("passes", "mode", "reason"), [(2, "train", "has seen 2 batches"), (1, "eval", "has seen 0 batches")]
)
def test_what_one_step_in_train_mode_has_not_left_is_refused(make_net, make_images, passes, mode, reason):
    net, images = make_net(), make_images(3)
    sent = buffers_after(net, images, passes=passes, mode=mode)
    with pytest.raises(StatisticsError, match=reason):
        inferred_statistics(Victim(net, bn_mode="train"), sent, images.shape)


def test_a_single_value_a_channel_has_no_variance(make_net, make_images):
    """PyTorch's own layers take no such batch in train mode, so that the buffers here are made by hand."""
    net = nn.Sequential(nn.Conv2d(3, 4, 6), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    sent = {name: value + 1 for name, value in net.named_buffers()}
    with pytest.raises(StatisticsError, match="1 sees a single value a channel"):
        inferred_statistics(Victim(net), sent, (1, 3, 6, 6))


def test_layers_that_tell_nothing_are_named(make_net, make_images):
    net, images = make_net(), make_images(3)
    sent = buffers_after(net, images)
    with pytest.raises(StatisticsError, match=r"no buffer early\.running_var"):
        inferred_statistics(Victim(net), {n: v for n, v in sent.items() if n != "early.running_var"}, images.shape)
    with pytest.raises(StatisticsError, match="late has momentum 0"):
        inferred_statistics(Victim(with_momentum(make_net(), 0.0)), _one_more(sent, 7), images.shape)
    forgetful = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(108, 2))
    with pytest.raises(StatisticsError, match="keeps no running statistics"):
        inferred_statistics(Victim(forgetful), {}, images.shape)
    idle = make_net()
    idle.spare = nn.BatchNorm2d(3)
    with pytest.raises(StatisticsError, match="sees nothing in a pass"):
        inferred_statistics(Victim(idle), buffers_after(idle, images), images.shape)


def _one_more(sent, before):
    return {n: torch.tensor(before + 1) if n.endswith("num_batches_tracked") else v for n, v in sent.items()}


@pytest.mark.parametrize("count", [1, 3, 64, 150])
def test_pooled_statistics_are_those_of_all_images_as_one_batch(make_net, make_images, count):
    victim, images = Victim(make_net(dtype=torch.float64)), make_images(count, dtype=torch.float64)
    for pair, expected in zip(pooled_statistics(victim, images), victim.bn_statistics(images), strict=True):
        for value, exact in zip(pair, expected, strict=True):
            torch.testing.assert_close(value, exact, rtol=1e-9, atol=1e-12)
