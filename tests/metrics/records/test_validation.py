"""A record that contradicts itself is refused by name, whoever made it; one that was altered is, whatever it says."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gradinv.metrics.records.identity import row_identity, trial_id
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_record
from gradinv.metrics.records.record import ImageScore, Record
from gradinv.metrics.records.validation import checksums, disagreement

SPECIFICATION: dict[str, Any] = {
    "dataset": "photos",
    "image_size": 16,
    "data_hash": "d",
    "victim": {
        "model": "lenet_dlg",
        "state": "untrained",
        "seed": 0,
        "stem": "default",
        "epochs": None,
        "weights": None,
    },
    "weights_hash": "w",
    "attack": "dlg",
    "hyperparameters": {"lr": 1.0},
    "control": "",
    "defense": "none",
    "threat_model": {
        "bn_mode": "eval",
        "bn_statistics": "none",
        "labels": "known",
        "update": "gradient",
        "max_equal_labels": 1,
        "adaptive": False,
        "client_precision": "float32",
        "equal_labels": 1,
    },
    "batch_size": 2,
    "repetition": 3,
    "budget": 100,
    "metrics": ["psnr"],
    "device": "cpu",
    "threads": 1,
    "engine": "eager",
    "together": 8,
    "precision": "float32",
    "sources": {},
    "versions": {"torch": "2"},
}


@pytest.fixture
def record(make_record: Callable[..., Record]) -> Record:
    """A sound record of a whole specification."""
    plain = make_record("dlg", 3, (12.0, 20.0), budget="100", evaluations=100)
    cell = plain.cell.model_copy(update=asdict(row_identity(SPECIFICATION)))
    return plain.model_copy(update={"id": trial_id(SPECIFICATION), "spec": SPECIFICATION, "cell": cell})


def image(record: Record, **changes: Any) -> dict[str, Any]:
    """The record's images with changes to the first."""
    first, *others = record.images
    return {"images": [first.model_copy(update=changes), *others]}


def specified(record: Record, **changes: Any) -> dict[str, Any]:
    """Another specification with its own id: what a forger would do who knows how ids are made."""
    specification = SPECIFICATION | changes
    return {"spec": specification, "id": trial_id(specification)}


def test_a_sound_record_is_sound(record):
    assert disagreement(record) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: {"id": "0" * 16}, "its id is not the hash of its specification"),
        (lambda r: {"repetition": 4}, "repetition is 4, in its specification 3"),
        (lambda r: specified(r, batch_size=3), "batch_size is 2, in its specification 3"),
        (lambda r: specified(r, attack="idlg"), "attack is 'dlg', in its specification 'idlg'"),
        (lambda r: specified(r, control="prior_only"), "attack is 'dlg', in its specification 'prior_only'"),
        (lambda r: specified(r, budget=50), "budget is '100', in its specification '50'"),
        (lambda r: specified(r, weights_hash="v"), "specification is "),
        (lambda r: specified(r, sources={"attack dlg": "edited"}), "specification is "),
        (lambda r: specified(r, threat_model=SPECIFICATION["threat_model"] | {"labels": "none"}), "labels is 'known'"),
        (lambda r: specified(r, victim=SPECIFICATION["victim"] | {"model": "resnet18"}), "specification is "),
        (lambda r: {"spec": {"attack": "dlg"}, "id": trial_id({"attack": "dlg"})}, "its specification lacks dataset"),
        (lambda r: image(r, slot=1), "slots are [1, 1], not those of a batch of 2"),
        (lambda r: image(r, slot=2), "slots are [1, 2]"),
        (lambda r: image(r, reconstruction=1), "reconstructions are [1, 1]"),
        (lambda r: {"images": r.images[:1]}, "slots are [0]"),
        (lambda r: {"images": [*r.images, r.images[0]]}, "slots are [0, 0, 1]"),
        (lambda r: image(r, metrics={"psnr": -3.0}), "psnr is -3, outside 0 to inf"),
        (lambda r: image(r, metrics={"ssim": 1.5}), "ssim is 1.5, outside -1 to 1"),
        (lambda r: {"metrics": {"label_accuracy": 1.2}}, "label_accuracy is 1.2, outside 0 to 1"),
        (lambda r: {"slot_accuracy": -0.5}, "slot_accuracy is -0.5, of its images 1"),
        (lambda r: {"evaluations": 101}, "it spent 101 evaluations, its budget is 100"),
        (lambda r: {"evaluations": -1}, "it spent -1 evaluations"),
        (lambda r: {"curve": [(5, 1.0), (3, 0.5)]}, "the evaluations of its curve do not rise"),
        (lambda r: {"seconds": -1.0}, "seconds is -1"),
        (lambda r: {"seconds": float("nan")}, "seconds is nan"),
        (lambda r: {"state": "failed", "reason": "no luck"}, "it is failed and holds images"),
        (lambda r: {"state": "skipped", "images": []}, "it is skipped and gives no reason"),
        (lambda r: {"reason": "no luck"}, "it is done and gives a reason"),
    ],
)
def test_what_contradicts_itself_is_named(record, change, reason):
    assert reason in disagreement(record.model_copy(update=change(record)))


def write(run: RunDirectory, record: Record) -> None:
    run.trial(record.id).mkdir(parents=True, exist_ok=True)
    run.record(record.id).write_text(record.model_dump_json(), encoding="utf-8")
    run.checksums(record.id).write_text(checksums(run, record.id), encoding="utf-8")


def test_an_altered_file_is_refused_and_so_is_one_without_checksums(record, tmp_path):
    run = RunDirectory(tmp_path)
    write(run, record)
    assert isinstance(read_record(run, record.id), Record)
    altered = json.loads(run.record(record.id).read_text(encoding="utf-8"))
    altered["images"][0]["metrics"]["psnr"] += 1.0
    run.record(record.id).write_text(json.dumps(altered), encoding="utf-8")
    assert "SHA256SUMS does not fit it" in str(read_record(run, record.id))
    run.checksums(record.id).unlink()
    assert "SHA256SUMS is missing" in str(read_record(run, record.id))


def mutations(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a record that a board is made of."""
    if isinstance(content, dict):
        return [found for name, value in content.items() for found in mutations(value, (*path, name))]
    if isinstance(content, list):
        return [found for index, value in enumerate(content) for found in mutations(value, (*path, index))]
    return [path]


@settings(max_examples=500, deadline=None, database=None)
@given(data=st.data())
def test_no_mutation_of_what_the_rules_cover_passes_unnoticed(data):
    """A forger who renews the checksums, but not the laws: identity, slots and ranges."""
    record = sound_record()
    content = json.loads(record.model_dump_json())
    covered = ("id", "repetition", "cell", "spec", "slot_accuracy", "evaluations", "state", "images")
    paths = [path for path in mutations(content) if path[0] in covered and path[-1] not in FREE]
    path = data.draw(st.sampled_from(paths))
    holder = content
    for part in path[:-1]:
        holder = holder[part]
    value = holder[path[-1]]
    holder[path[-1]] = not value if isinstance(value, bool) else data.draw(st.sampled_from(WRONG))
    try:
        mutated = Record.model_validate(content)
    except ValueError:
        return  # not even a record
    assert disagreement(mutated) or mutated == record, path


FREE = ("image", "label", "granted_numbers_per_pixel", "tuning", "victim")
"""What follows from the data, the network or its size, which a reader does not have; checksums alone guard it."""
WRONG = (-1, 10**6, "nothing", None)


def sound_record() -> Record:
    """The same sound record, for a test that takes no fixtures."""
    names = {"dataset", "image_size", "defense", "batch_size", "precision"}
    cell = {name: SPECIFICATION[name] for name in names} | SPECIFICATION["threat_model"] | {
        "attack": "dlg", "victim": "lenet_dlg", "victim_state": "untrained", "victim_seed": 0,
        "granted_numbers_per_pixel": 0.0, "budget": "100", **asdict(row_identity(SPECIFICATION)),
    }  # fmt: skip
    images = [ImageScore(slot=i, reconstruction=1 - i, image=f"i{i}", label=i, metrics={"gmsd": 0.1}) for i in (0, 1)]
    content = {"id": trial_id(SPECIFICATION), "suite": "s", "order": 0, "repetition": 3, "cell": cell}
    measured = {"state": "done", "images": images, "slot_accuracy": 0.0, "evaluations": 100}
    return Record.model_validate({**content, "spec": SPECIFICATION, **measured})


@pytest.mark.parametrize(
    "name", ["dataset", "victim", "metrics", "device", "engine", "sources", "weights_hash", "budget"]
)
@pytest.mark.parametrize("value", [None, [1], "missing"])
def test_a_specification_that_lacks_what_readers_ask_for_is_named(record, name, value):
    specification = {key: entry for key, entry in SPECIFICATION.items() if key != name}
    if value != "missing":
        specification[name] = value
    forged = record.model_copy(update={"spec": specification, "id": trial_id(specification)})
    assert name in disagreement(forged) or (name, value) == ("budget", None)


def test_a_specification_that_is_too_deep_to_be_hashed_is_named(record):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert "specification" in disagreement(record.model_copy(update={"spec": {**SPECIFICATION, "versions": deep}}))
