"""The suite `standard`: what solves stands beside what searches, and is skipped with a reason where it cannot."""

import pytest

from gradinv.attacks.attack import Conditions
from gradinv.attacks.registry import ATTACKS, create_attack
from gradinv.benchmark.runs import load_suite, suite_path
from gradinv.benchmark.victims.networks import build_network

# The model of the network that each one solves, as the literature has it.
SOLVES = {
    "ratio": "mlp1000",
    "peeling": "mlp1000",
    "spear": "mlp1000",
    "cocktail_party": "mlp1000",
    "r_gap": "cnn6_rgap",
    "april": "vit_april",
    "patch_embedding": "test_vit",
}


@pytest.fixture(scope="module")
def reasons() -> dict[str, dict[str, str | None]]:
    """Attack -> model -> why one image cannot be attacked; None where it can."""
    (block, *_) = load_suite(suite_path("standard")).blocks
    found: dict[str, dict[str, str | None]] = {attack: {} for attack in block.attacks}
    for victim in block.victims:
        network = build_network(victim.model, num_classes=10, image_size=32)
        conditions = Conditions(
            block.threat_model, 1, 10, bn_layers=0, trained=False, image_size=32, budget=300, network=network
        )
        for attack in block.attacks:
            found[attack][victim.model] = create_attack(attack).reason_impossible(conditions)
    return found


def test_every_attack_that_solves_is_asked_and_solves_its_own_network(reasons):
    assert set(reasons) >= {name for name in ATTACKS.names() if ATTACKS.declaration(name).get("exact")}
    assert {attack: reasons[attack][model] for attack, model in SOLVES.items()} == dict.fromkeys(SOLVES)


def test_elsewhere_it_says_why_and_what_searches_searches_everywhere(reasons):
    for attack, by_model in reasons.items():
        if attack in SOLVES:
            assert all(by_model[model] for model in {"test_vit", "test_resnet"} - {SOLVES[attack]})
        else:
            assert set(by_model.values()) == {None}
