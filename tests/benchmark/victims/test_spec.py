"""A victim's specification: its key, and what contradicts itself."""

import pytest
from pydantic import ValidationError

from gradinv.benchmark.victims.spec import VictimSpec


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"state": "untrained"}, "resnet18"),
        ({"state": "trained", "epochs": 5, "stem": "cifar", "seed": 3}, "resnet18[epochs=5,stem=cifar]"),
        ({"state": "trained", "epochs": 5, "round": 0}, "resnet18[epochs=5,round=0]"),
        ({"state": "pretrained", "weights": "/some/where/mine.safetensors"}, "resnet18[weights=mine.safetensors]"),
    ],
)
def test_the_key_shows_what_shapes_the_model(options: dict, key: str) -> None:
    assert VictimSpec(model="resnet18", **options).key == key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "untrained", "epochs": 3}, "epochs is for state trained"),
        ({"state": "trained", "round": 3}, "round counts epochs of a training"),
        ({"state": "trained", "epochs": 2, "round": 3}, "give epochs too, as many or more"),
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


GIVEN = {"model": "resnet18", "state": "trained", "weights": "mine.pt", "mean": (0.5, 0.4, 0.3), "std": (1.0, 1.0, 1.0)}


def test_a_normalisation_is_part_of_the_victim_and_its_absence_changes_no_id() -> None:
    assert VictimSpec(**GIVEN).model_dump(mode="json")["mean"] == [0.5, 0.4, 0.3]
    assert VictimSpec(**GIVEN).key == "resnet18[mean=0.5/0.4/0.3,std=1.0/1.0/1.0,weights=mine.pt]"
    fields = {"model", "state", "seed", "stem", "epochs", "weights"}
    assert set(VictimSpec(model="resnet18", state="untrained").model_dump(mode="json")) == fields


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": None}, "mean and std go together"),
        ({"weights": None}, "mean and std are for weights of one's own"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "finite number"),
        ({"mean": (0.5,)}, "Field required"),
    ],
)
def test_a_normalisation_that_cannot_be_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VictimSpec(**GIVEN | changes)
