"""A victim's specification: its key, and what contradicts itself."""

import pytest
from pydantic import ValidationError

from gradinv.benchmark.victims.spec import VictimSpec


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"state": "untrained"}, "resnet18"),
        ({"state": "trained", "epochs": 5, "stem": "cifar", "seed": 3}, "resnet18[epochs=5,stem=cifar]"),
        ({"state": "pretrained", "weights": "/some/where/mine.safetensors"}, "resnet18[weights=mine.safetensors]"),
    ],
)
def test_the_key_shows_what_shapes_the_model(options: dict, key: str) -> None:
    assert VictimSpec(model="resnet18", **options).key == key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "untrained", "epochs": 3}, "epochs is for state trained"),
        ({"state": "early", "epochs": 3}, "epochs is for state trained"),
        ({"state": "untrained", "weights": "x.pt"}, "weights contradict state untrained"),
        ({"state": "pretrained", "stem": "cifar"}, "do not fit another stem"),
        ({"state": "warm"}, "untrained"),
        ({"state": "trained", "epochs": 0}, "greater than or equal to 1"),
        ({"state": "trained", "depth": 3}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VictimSpec(model="resnet18", **options)
