"""The record: it survives JSON bit for bit, takes nothing unknown, and never changes."""

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from gradinv.metrics.records.record import FINISHED, SCHEMA, SCORED, Cell, ImageScore, Record


def cell(**changes: Any) -> Cell:
    fields = {
        "attack": "gradinversion",
        "dataset": "photos",
        "image_size": 32,
        "victim": "resnet18",
        "victim_state": "trained",
        "victim_seed": 0,
        "bn_mode": "eval",
        "bn_statistics": "running",
        "granted_numbers_per_pixel": 0.1,
        "labels": "known",
        "update": "gradient",
        "defense": "none",
        "adaptive": False,
        "batch_size": 2,
        "max_equal_labels": 1,
    }
    return Cell(**{**fields, **changes})


def record(**changes: Any) -> Record:
    image = ImageScore(slot=0, reconstruction=1, image="ab12", label=3, metrics={"psnr": math.inf, "ssim": 0.1 + 0.2})
    fields = {
        "id": "0123",
        "suite": "quick",
        "order": 0,
        "repetition": 0,
        "cell": cell(),
        "spec": {"budget": 100, "attack": {"alpha_tv": 1e-4}},
        "state": "done",
        "images": [image],
        "objective_end": math.nan,
        "curve": [(0, 1.5), (10, -math.inf)],
    }
    return Record(**{**fields, **changes})


def test_json_round_trip_keeps_every_value() -> None:
    before = record()
    after = Record.model_validate_json(before.model_dump_json())
    assert after.images == before.images
    assert after.images[0].metrics == {"psnr": math.inf, "ssim": 0.1 + 0.2}
    assert after.curve == [(0, 1.5), (10, -math.inf)]
    assert after.objective_end is not None
    assert math.isnan(after.objective_end)
    assert after.model_dump(exclude={"objective_end"}) == before.model_dump(exclude={"objective_end"})
    assert after.schema_version == SCHEMA


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e-300, 0.1])
def test_json_holds_numbers_that_other_readers_take_too(value: float) -> None:
    image = ImageScore(slot=0, reconstruction=0, image="a", label=0, metrics={"m": value})
    text = record(images=[image], spec={"attack": {"limit": value}}).model_dump_json()
    for back in (json.loads(text), Record.model_validate_json(text).model_dump()):
        assert repr(back["images"][0]["metrics"]["m"]) == repr(value)
        assert repr(back["spec"]["attack"]["limit"]) == repr(value)


@pytest.mark.parametrize("build", [record, cell])
def test_unknown_fields_are_refused(build) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        build(mood="good")


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValidationError, match="'done', 'diverged', 'skipped', 'failed' or 'oom'"):
        record(state="lost")


def test_nothing_can_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record().state = "failed"
    with pytest.raises(ValidationError, match="frozen"):
        cell().attack = "dlg"


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"attack": "dlg"}, "dlg"),
        ({"preset": "no_bn"}, "gradinversion.no_bn"),
        ({"parameters": "[alpha_bn=0.01]"}, "gradinversion[alpha_bn=0.01]"),
        ({"preset": "no_bn", "parameters": "[lr=0.1]"}, "gradinversion.no_bn[lr=0.1]"),
        ({"attack": "prior_only", "preset": "dlg", "is_control": True}, "prior_only of dlg"),
        ({"attack": "mean_image", "is_control": True}, "mean_image"),
    ],
)
def test_key_of_a_cell(fields: dict[str, Any], key: str) -> None:
    assert cell(**fields).key == key


def test_setting_is_everything_but_the_attack() -> None:
    other_attack = cell(attack="prior_only", preset="dlg", parameters="[a=1]", tuning="paper", is_control=True)
    assert other_attack.setting == cell().setting
    for change in ({"labels": "counts"}, {"batch_size": 4}, {"defense": "noise"}, {"precision": "bf16"}):
        assert cell(**change).setting != cell().setting


def test_a_cell_that_names_no_precision_is_of_float32() -> None:
    assert "precision" not in cell().model_dump(exclude_unset=True)
    assert cell().precision == "float32"


def test_cells_of_equal_columns_are_one_key_of_a_dictionary() -> None:
    assert {cell(): 1}[cell()] == 1
    assert cell(preset="a") not in {cell()}


@pytest.mark.parametrize(
    ("state", "scored", "finished"),
    [
        ("done", True, True),
        ("diverged", True, True),
        ("skipped", False, True),
        ("failed", False, False),
        ("oom", False, False),
    ],
)
def test_states(state: Any, scored: bool, finished: bool) -> None:
    assert record(state=state).is_scored is scored
    assert (state in SCORED, state in FINISHED) == (scored, finished)
