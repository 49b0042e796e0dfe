"""Records of schema 1 say the same in the present schema, and nothing unknown slips in."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import ValidationError

from gradinv.metrics.records.identity import row_identity
from gradinv.metrics.records.record import SCHEMA, Record
from gradinv.metrics.records.settings import LATER
from gradinv.metrics.records.upgrade import upgraded

FIXTURES = Path(__file__).parent / "fixtures"


def content(name: str) -> dict:
    return json.loads((FIXTURES / name).read_text(encoding="utf-8"))


def test_every_field_of_schema_1_is_kept_moved_or_dropped_on_purpose():
    old = content("record-v1-every-field.json")
    new = Record.model_validate(old).model_dump(mode="json")
    assert new["schema_version"] == SCHEMA == 3
    assert new["metrics"] == {"label_accuracy": old["label_accuracy"]}
    assert new["stopped"] == "stopped early, the objective was below the tolerance or did not move any more"
    assert new["notes"] == [note for note in old["notes"] if not note.startswith("budget left")]
    assert new["alignments"] == old["registrations"] == {"accepted": 11, "overlap": 1}
    hashes = {name: new["cell"].pop(name) for name in ("specification", "arm", "context")}
    new["cell"] = {
        name: value for name, value in new["cell"].items() if name in old["cell"] or value != LATER.get(name)
    }
    assert hashes == asdict(row_identity(old["spec"]))
    moved = {"schema_version", "label_accuracy", "registrations", "notes", "scored", "consensus_psnr"}
    assert {name: new[name] for name in old if name not in moved} == {
        name: value for name, value in old.items() if name not in moved
    }


@pytest.mark.parametrize("name", ["record-v1.json", "record-v1-every-field.json"])
def test_the_argument_is_left_alone_and_the_present_schema_is_its_own_upgrade(name):
    old = content(name)
    once = upgraded(old)
    assert old == content(name)
    assert upgraded(once) is once
    assert Record.model_validate(once) == Record.model_validate(old)


def test_an_unmeasured_accuracy_is_no_metric():
    assert Record.model_validate(content("record-v1.json") | {"label_accuracy": None}).metrics == {}


@pytest.mark.parametrize(
    ("version", "field"),
    [(1, "mood"), (1, "metrics"), (1, "stopped"), (1, "alignments"), (2, "label_accuracy"), (2, "scored"), (2, "mood")],
)
def test_what_a_schema_does_not_have_is_refused(version, field):
    plain = content("record-v1.json")
    fields = plain if version == 1 else upgraded(plain)
    with pytest.raises(ValidationError, match=field):
        Record.model_validate(fields | {field: {}})


@pytest.mark.parametrize("notes", [3, {"a": 1}, [3], None])
def test_broken_notes_are_refused_by_name(notes):
    with pytest.raises(ValidationError, match="notes"):
        Record.model_validate(content("record-v1.json") | {"notes": notes})
