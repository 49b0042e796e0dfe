"""What an attack needs before it may run: each lack is a line beforehand, and what is there is no obstacle."""

from typing import Any

import pytest

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching.needs import LabelPolicy, lacks_budget, lacks_labels
from gradinv.attacks.leak import ThreatModel
from gradinv.attacks.registry import create_attack


def conditions(
    *, bn_statistics: str = "running", labels: str = "known", auxiliary_images: str = "none", **changes: Any
) -> Conditions:
    """Two of ten classes on a trained network with batch norm, running statistics and labels granted; or other ones."""
    threat_model = ThreatModel(bn_statistics=bn_statistics, labels=labels, auxiliary_images=auxiliary_images)
    sizes = {"batch_size": 2, "num_classes": 10, "bn_layers": 3, "trained": True, "image_size": 32}
    return Conditions(threat_model, **(sizes | changes))


@pytest.mark.parametrize(
    ("key", "changes", "reason"),
    [
        ("gradinversion", {}, None),
        ("gradinversion", {"budget": 7}, "a budget of 7 evaluations is too small for 1 restarts of 8 agents"),
        ("gradinversion", {"image_size": 12}, "needs images from 16 px on"),
        ("gradinversion.lazy_group", {"image_size": 12}, None),
        ("gradinversion", {"bn_layers": 0}, "network without batch norm"),
        ("gradinversion", {"bn_statistics": "none"}, "needs bn_statistics: running or proxy or inferred or exact"),
        ("gradinversion", {"trained": False}, "untrained network"),
        ("gradinversion", {"trained": False, "bn_statistics": "exact"}, None),
        ("gradinversion.no_bn", {"bn_layers": 0, "trained": False, "bn_statistics": "none"}, None),
        ("gradinversion", {"labels": "none", "batch_size": 11}, "11 distinct labels cannot be inferred among 10"),
        ("inverting_gradients", {"labels": "none"}, "needs labels: counts or known for more than one image"),
        ("inverting_gradients", {"labels": "none", "batch_size": 1}, None),
        ("inverting_gradients", {"labels": "counts"}, None),
        ("idlg", {"batch_size": 11}, "11 distinct labels"),
        ("dlg", {"labels": "none", "batch_size": 11, "bn_layers": 0}, None),
        ("idlg[alpha_autoencoder=1.0]", {}, "needs auxiliary_images: train"),
        ("idlg[alpha_autoencoder=1.0]", {"auxiliary_images": "train"}, "no autoencoder is here"),
        ("idlg[alpha_autoencoder=1.0]", {"auxiliary_images": "train", "autoencoder": True}, None),
        ("idlg", {"auxiliary_images": "train"}, None),
        ("inverting_gradients[decoder=true]", {}, "needs auxiliary_images: train"),
        ("inverting_gradients[decoder=true]", {"auxiliary_images": "train"}, "no autoencoder is here"),
        ("inverting_gradients[decoder=true]", {"auxiliary_images": "train", "autoencoder": True}, None),
    ],
)
def test_impossible_conditions_are_named_beforehand(key: str, changes: dict, reason: str | None) -> None:
    said = create_attack(key).reason_to_skip(conditions(**changes))
    assert said is None if reason is None else reason in said


@pytest.mark.parametrize(
    ("policy", "labels", "is_possible"),
    [
        (LabelPolicy(), "none", True),
        (LabelPolicy(rule_needs_single_image=True), "none", False),
        (LabelPolicy(rule_needs_single_image=True), "counts", True),
        (LabelPolicy(rule_needs_single_image=True, always_infer=True), "known", False),
        (LabelPolicy(rule_needs_single_image=True, joint=True), "none", True),
    ],
)
def test_a_policy_says_what_it_cannot_do_without(policy: LabelPolicy, labels: str, is_possible: bool) -> None:
    assert (lacks_labels(policy, conditions(labels=labels)) is None) == is_possible


@pytest.mark.parametrize(("evaluations", "is_enough"), [(5, False), (6, True), (7, True)])
def test_every_agent_of_every_restart_needs_an_evaluation(evaluations: int, is_enough: bool) -> None:
    assert (lacks_budget(evaluations, restarts=2, agents=3) is None) == is_enough
