"""The plug-in beside the board `peers`, where breaching need not be installed: what it declines, and what it lends."""

import copy
import importlib.metadata
from pathlib import Path

import pytest
import torch

from gradinv.attacks.attack import Conditions
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.registry import load_plugin

PLUGIN = Path(__file__).parents[3] / "leaderboards" / "peers.py"
KEYS = ("breaching_inverting_gradients", "breaching_gradinversion")


@pytest.fixture
def plugin():
    return load_plugin(PLUGIN)


@pytest.fixture
def installed(monkeypatch):
    """`installed(version)`: breaching is there in that version, None: it is not; whatever the truth is."""
    truth = importlib.metadata.version

    def pretend(version):
        def said(name):
            if name != "breaching":
                return truth(name)
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", said)

    return pretend


def conditions(model="test_resnet", *, trained=True, budget=10, channels=3, **granted):
    network = build_network(model, num_classes=10, image_size=16, channels=channels, untrained=True)
    layers = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    return Conditions(ThreatModel(**granted), 1, 10, layers, trained, 16, budget, network, channels)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (None, "breaching 0.1.2 is not installed: pip install 'gradinv[peers]'"),
        ("0.2.0", "is for breaching 0.1.2, and 0.2.0 is installed"),
    ],
)
def test_without_that_version_its_cells_are_skipped_with_the_reason(
    installed, version, reason, run_suite, write_suite, tmp_path, tools
):
    installed(version)
    suite = write_suite(attacks=["breaching_inverting_gradients", "dlg"], controls=["other_gradient", "mean_image"])
    result = run_suite(suite, "--plugin", PLUGIN)
    assert result.status == 0, result.err
    records = tools.records_by_label(tmp_path / "run")
    states = {key: record.state for (key, _), record in records.items()}
    assert states.pop("breaching_inverting_gradients") == states.pop("other_gradient of breaching_inverting_gradients")
    assert set(states.values()) == {"done"}
    assert records["breaching_inverting_gradients", 0].state == "skipped"
    assert records["breaching_inverting_gradients", 0].reason == reason


@pytest.mark.parametrize(
    ("key", "changes", "reason"),
    [
        (KEYS[0], {"labels": "none"}, "needs labels"),
        (KEYS[0], {"update": "weight_update[epochs=1,lr=0.001]"}, "gradients here"),
        (KEYS[0], {"budget": 1}, "budget of 1"),
        (KEYS[0], {"model": "lenet_dlg", "channels": 1}, "3 channels, and not of 1"),
        (KEYS[1], {"bn_statistics": "none"}, "needs bn_statistics"),
        (KEYS[1], {"trained": False}, "say nothing of images"),
        (KEYS[1], {"model": "lenet_dlg"}, "without batch norm"),
        (f"{KEYS[1]}.no_bn", {"model": "lenet_dlg"}, None),
        (f"{KEYS[1]}.no_bn", {"bn_statistics": "none"}, None),
        (KEYS[0], {"bn_statistics": "none", "labels": "counts"}, None),
        (KEYS[1], {"bn_mode": "train", "bn_statistics": "exact"}, None),
    ],
)
def test_it_is_skipped_where_it_would_be_handed_what_is_not_granted(plugin, installed, key, changes, reason):
    installed("0.1.2")
    said = create_attack(key).reason_to_skip(conditions(**changes))
    assert said is None if reason is None else reason in said


def test_controls_without_the_update_are_told_apart_from_the_attack(plugin):
    attack = create_attack("breaching_gradinversion")
    blind, bare = attack.prior_only(), attack.no_statistics()
    assert (attack.sees_update, blind.sees_update, bare.sees_update) == (True, False, False)
    assert (blind.uses_statistics, bare.uses_statistics) == (True, False)
    assert blind.hyperparameters == attack.hyperparameters
    assert create_attack("breaching_inverting_gradients[alpha_tv=0.0]").prior_only() is None


def test_the_lent_network_is_the_victims_own_and_nothing_of_it_can_be_changed(plugin):
    victim = Victim(build_network("lenet_dlg", num_classes=10, image_size=16, untrained=True))
    lent = plugin.LentNetwork(victim)
    assert copy.deepcopy(lent) is lent
    assert all(own is other for own, other in zip(lent.parameters(), victim.parameters, strict=True))
    before = {name: value.clone() for name, value in victim.state.items()}
    lent.to(torch.float64).train()
    assert not victim.module.training
    assert list(lent.buffers()) == []
    assert all(torch.equal(value, before[name]) for name, value in victim.state.items())
    images = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(lent(images), torch.tensor([3]))
    torch.autograd.grad(loss, list(lent.parameters()), create_graph=True)
    assert victim.evaluations.spent == 1
