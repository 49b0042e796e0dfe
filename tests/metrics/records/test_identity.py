"""Identities of rows: what makes another row, what an attack and its controls must share."""

import pytest

from gradinv.metrics.records.identity import differing_fields, row_identity, trial_id

ATTACK = {
    "dataset": "photos",
    "data_hash": "d",
    "weights_hash": "w",
    "attack": "mine",
    "hyperparameters": {"lr": 0.1},
    "control": "",
    "defense": "none",
    "repetition": 0,
    "budget": 5,
    "engine": "eager",
    "together": 8,
    "precision": "float32",
    "sources": {"attack mine": "s", "metric m": "t"},
}
MEAN_IMAGE = ATTACK | {"attack": "", "hyperparameters": {}, "control": "mean_image", "together": 1, "data_hash": "e"}
MEAN_IMAGE["sources"] = {"metric m": "t"}


def test_the_batch_and_the_suite_make_no_other_row():
    assert row_identity(ATTACK) == row_identity(ATTACK | {"repetition": 7, "suite_hash": "x"})
    assert trial_id(ATTACK) != trial_id(ATTACK | {"repetition": 7})
    assert trial_id(ATTACK) == trial_id(ATTACK | {"suite_hash": "x"})


@pytest.mark.parametrize("name", [name for name in ATTACK if name not in ("repetition", "control")])
def test_whatever_else_differs_is_another_row_and_another_arm(name):
    changed = ATTACK | {name: {"attack mine": "edited"} if name == "sources" else "changed"}
    same, other = row_identity(ATTACK), row_identity(changed)
    assert same.specification != other.specification
    assert same.arm != other.arm
    assert differing_fields(ATTACK, changed) == [name]


def test_an_attack_shares_its_arm_with_its_own_controls_only():
    control = row_identity(ATTACK | {"control": "other_gradient"})
    assert control.arm == row_identity(ATTACK).arm
    assert control.specification != row_identity(ATTACK).specification


@pytest.mark.parametrize("name", ["weights_hash", "defense", "budget", "dataset"])
def test_an_attack_shares_its_context_with_what_attacks_nothing(name):
    assert row_identity(ATTACK).context == row_identity(MEAN_IMAGE).context
    assert row_identity(ATTACK).context != row_identity(MEAN_IMAGE | {name: "changed"}).context
