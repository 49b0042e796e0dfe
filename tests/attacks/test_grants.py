"""The tables of what is granted: an unknown level is refused, and each level hands out what its name says."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gradinv.attacks.attack import Conditions
from gradinv.attacks.grants import (
    BN_STATISTICS,
    LABELS,
    Sources,
    granted_labels,
    granted_numbers_per_pixel,
    granted_statistics,
    level_of,
    reason_impossible,
    reason_without_statistics,
)
from gradinv.attacks.inferred_statistics import StatisticsError
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.victim import Victim
from gradinv.metrics.registry import UnknownNameError


def conditions(**changes):
    """Conditions under which everything is possible, with changes; those of the threat model by their names."""
    threat_model = ThreatModel(**{name: changes.pop(name) for name in ("bn_statistics",) if name in changes})
    possible = {"batch_size": 1, "num_classes": 10, "bn_layers": 2, "trained": True, "image_size": 16}
    return Conditions(threat_model=threat_model, **(possible | changes))


@pytest.mark.parametrize("level", ["exactly", "", "Running"])
def test_an_unknown_level_is_refused_everywhere(level, make_net, make_images):
    with pytest.raises(UnknownNameError, match="unknown level of bn_statistics"):
        granted_statistics(level, Sources(Victim(make_net()), (2, 3, 6, 6)))
    with pytest.raises(UnknownNameError):
        granted_numbers_per_pixel(level, 4, 1, (3, 8, 8))
    with pytest.raises(ValidationError, match="unknown level of bn_statistics"):
        ThreatModel(bn_statistics=level)
    with pytest.raises(UnknownNameError, match="unknown level of labels"):
        granted_labels(level, torch.tensor([1]))
    with pytest.raises(ValidationError, match="unknown level of labels"):
        ThreatModel(labels=level)


def test_every_level_says_what_it_is():
    assert all(grant.meaning for table in (BN_STATISTICS, LABELS) for grant in table.values())
    assert level_of(LABELS, "labels", "known").meaning == "the label of every slot"


def sources_of(net, images, public=None):
    """What a client in train mode leaves behind: everything that statistics can be made from."""
    network = copy.deepcopy(net).train()
    with torch.no_grad():
        network(images)
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    shape = tuple(images.shape)
    return Sources(Victim(net, bn_mode="train"), shape, images=images, public=public, buffers=buffers)


def test_only_the_batchs_own_statistics_come_from_the_batch(make_net, make_images):
    net, public = make_net(), make_images(5, seed=7)
    both = [sources_of(net, make_images(3, seed=seed), public) for seed in (0, 1)]
    for name, grant in BN_STATISTICS.items():
        first, second = (granted_statistics(name, sources) for sources in both)
        differ = first is not None and any(not torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
        assert differ == grant.are_of_batch, name


def test_exact_statistics_are_numpys(make_net, make_images):
    net, images = make_net(), make_images(3)
    late, early = granted_statistics("exact", Sources(Victim(net), (3, 3, 6, 6), images=images))
    features = net.first(images).detach().numpy()
    np.testing.assert_allclose(early[0].numpy(), features.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(early[1].numpy(), features.var((0, 2, 3)), rtol=1e-4)
    assert late[0].shape == (4,)


def test_nothing_is_handed_out_of_a_network_without_batch_norm(make_net, make_images):
    sources = Sources(Victim(make_net(bn=False)), (2, 3, 6, 6), images=make_images(2))
    assert all(granted_statistics(name, sources) is None for name in BN_STATISTICS)


@pytest.mark.parametrize("level", ["proxy", "inferred", "exact"])
def test_statistics_without_their_source_are_refused(make_net, level):
    with pytest.raises(StatisticsError, match="they are"):
        granted_statistics(level, Sources(Victim(make_net()), (2, 3, 6, 6)))


@pytest.mark.parametrize(
    ("granted", "reason"),
    [
        ({"bn_mode": "train", "buffers": "sent"}, None),
        ({"buffers": "sent"}, "in eval mode no buffer changes"),
        ({"bn_mode": "train"}, "set threat_model.buffers: sent"),
    ],
)
def test_inferred_statistics_need_a_client_in_train_mode_that_sends_its_buffers(granted, reason):
    asked = conditions()
    model = ThreatModel(bn_statistics="inferred", **granted)
    given = reason_impossible(replace(asked, threat_model=model))
    assert given is None if reason is None else reason in given
    assert reason_impossible(replace(asked, threat_model=model, bn_layers=0)) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"bn_statistics": "exact", "trained": False}, None),
        ({"bn_layers": 0}, "network without batch norm"),
        ({"bn_statistics": "none"}, "needs bn_statistics: running or proxy or inferred or exact"),
        ({"trained": False}, "untrained network"),
    ],
)
def test_why_a_prior_has_nothing_to_go_by(changes, reason):
    found = reason_without_statistics(conditions(**changes))
    assert found is None if reason is None else reason in found


def test_numbers_per_pixel_count_what_is_of_the_batch():
    assert granted_numbers_per_pixel("running", 100, 1, (3, 8, 8)) == 0
    assert granted_numbers_per_pixel("none", 100, 1, (3, 8, 8)) == 0
    assert granted_numbers_per_pixel("exact", 100, 4, (3, 8, 8)) == pytest.approx(200 / (4 * 3 * 64))
