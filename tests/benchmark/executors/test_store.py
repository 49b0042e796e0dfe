"""Records on disk: whole or not at all, whoever else is writing."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file

from gradinv.benchmark.executors import store as store_module
from gradinv.benchmark.executors.store import ABANDONED_AFTER, Store
from gradinv.metrics.images import score_images
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import RecordsError, read_records
from gradinv.metrics.records.record import SCORED, Cell, ImageScore, Record

CELL = Cell(
    attack="dlg",
    dataset="photos",
    image_size=32,
    victim="lenet_dlg",
    victim_state="untrained",
    victim_seed=0,
    bn_mode="eval",
    bn_statistics="none",
    granted_numbers_per_pixel=0.0,
    labels="known",
    update="gradient",
    defense="none",
    adaptive=False,
    batch_size=1,
    max_equal_labels=1,
)
PICTURES = {"original": torch.zeros(1, 3, 4, 4, dtype=torch.uint8)}


IMAGE = ImageScore(slot=0, reconstruction=0, image="0123456789abcdef", label=3, metrics={"psnr": 20.0})


def record(state="done", note="", **fields):
    """A record that contradicts itself in nothing, marked by a note."""
    measured = {"images": [IMAGE], "slot_accuracy": 1.0} if state in SCORED else {"reason": "no luck"}
    identity = {"id": "abc", "suite": "tiny", "order": 0, "repetition": 0, "cell": CELL, "spec": {}}
    return Record(**identity, state=state, notes=[note], **measured, **fields)


@pytest.fixture
def store(tmp_path):
    return Store(RunDirectory(tmp_path))


@pytest.mark.parametrize(
    ("state", "finished"), [("done", True), ("diverged", True), ("skipped", True), ("failed", False), ("oom", False)]
)
def test_which_states_are_finished(store, state, finished):
    store.write(record(state), {})
    assert store.finished("abc") == finished


def test_what_is_written_is_read(store):
    written = record(objective_start=float("inf"), objective_end=float("nan"), curve=[(0, float("inf"))])
    store.write(written, PICTURES)
    assert store.read("abc").model_dump_json() == written.model_dump_json()
    paths = {store.run.record("abc"), store.run.tensors("abc"), store.run.checksums("abc")}
    assert set(store.run.trial("abc").iterdir()) == paths
    assert [path.name for path in store.run.trials.iterdir()] == ["abc"]


def test_a_finished_record_of_another_process_stays(store):
    """It is the same to the bit where both are finished, and better where this one failed."""
    store.write(record("done", note="first"), PICTURES)
    inode = store.run.trial("abc").stat().st_ino
    store.write(record("failed", note="later"), {})
    store.write(record("done", note="later"), PICTURES)
    assert store.read("abc").notes == ["first"]
    assert store.run.trial("abc").stat().st_ino == inode
    assert [path.name for path in store.run.trials.iterdir()] == ["abc"]


def test_a_later_record_replaces_the_whole_folder(store):
    store.write(record("failed"), PICTURES)
    store.write(record("failed", note="later"), {})
    assert store.read("abc").notes == ["later"]
    assert set(store.run.trial("abc").iterdir()) == {store.run.record("abc"), store.run.checksums("abc")}
    assert [path.name for path in store.run.trials.iterdir()] == ["abc"]


def test_an_interrupted_write_leaves_the_old_record(store, monkeypatch):
    store.write(record("failed", note="old"), {})

    def interrupted(path, tensors):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(record("done"), PICTURES)
    assert store.read("abc").notes == ["old"]
    records, faults = read_records([store.run.path])
    assert ([record.notes for record in records], faults) == ([["old"]], [])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": "abc"}', b"\xff\xfe"])
def test_a_broken_record_counts_as_missing(store, content):
    store.write(record(), {})
    store.run.record("abc").write_bytes(content)
    assert store.read("abc") is None
    assert not store.finished("abc")


def of_another_trial(store):
    text = store.run.record("abc").read_text()
    store.run.record("abc").write_text(text.replace('"abc"', '"def"'))


def altered(store):
    text = store.run.record("abc").read_text()
    store.run.record("abc").write_text(text.replace("20.0", "25.0"))


def contradicting_itself(store):
    shutil.rmtree(store.run.trial("abc"))
    store.write(record(evaluations=-1), {})


def with_broken_additions(store):
    store.run.additions("abc").write_text("{")


@pytest.mark.parametrize("spoil", [of_another_trial, altered, contradicting_itself, with_broken_additions])
def test_what_boards_refuse_counts_as_missing(store, spoil):
    """Else a run would take it for done, and its board would lack it, again and again."""
    store.write(record(), {})
    assert store.finished("abc")
    spoil(store)
    assert len(read_records([store.run.path])[1]) == 1
    assert store.read("abc") is None
    assert not store.finished("abc")
    store.write(record(), {})
    assert store.finished("abc")


def test_what_a_newer_gradinv_wrote_is_never_run_again(store):
    store.write(record(), {})
    text = store.run.record("abc").read_text()
    store.run.record("abc").write_text(text.replace('"schema_version": ', '"schema_version": 9'))
    assert store.read("abc") is None
    with pytest.raises(RecordsError, match="holds records of a newer gradinv; upgrade, or take another --out"):
        store.finished("abc")


def test_missing_records(store):
    assert store.read("abc") is None
    store.run.trial("abc").mkdir(parents=True)
    assert store.read("abc") is None
    assert store.read_all(["abc", "def"]) == []


def test_cleaning_spares_what_another_process_may_be_writing(store):
    old, young = store.run.trial(".abc-1"), store.run.trial(".abc-2")
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "record.json").write_text("{")
    past = time.time() - ABANDONED_AFTER - 1
    os.utime(old, (past, past))
    store.write(record(), {})
    store.clean()
    assert {path.name for path in store.run.trials.iterdir()} == {"abc", ".abc-2"}


def test_cleaning_before_anything_was_written(tmp_path):
    Store(RunDirectory(tmp_path / "nowhere")).clean()


def test_writers_of_one_trial_do_not_disturb_each_other(store):
    def write_often(name):
        for _ in range(30):
            store.write(record(note=name), PICTURES)

    with ThreadPoolExecutor() as writers:
        list(writers.map(write_often, "abcd"))
    assert store.read("abc").notes[0] in "abcd"
    assert [path.name for path in store.run.trials.iterdir()] == ["abc"]


def test_images_are_kept_as_they_were_scored_on_request(run_suite, write_suite, tmp_path, tools):
    suite = write_suite(batch_sizes=[2])
    assert run_suite(suite).status == 0
    assert not list((tmp_path / "run").rglob("floats.safetensors"))
    assert run_suite(suite, "--keep", "float", out=tmp_path / "kept").status == 0
    (record,) = tools.records_by_label(tmp_path / "kept").values()
    run = RunDirectory(tmp_path / "kept")
    floats, pictures = load_file(run.floats(record.id)), load_file(run.tensors(record.id))
    psnr = score_images(floats["reconstruction"], pictures["original"].float() / 255, ["psnr"]).values["psnr"]
    assert psnr.tolist() == [image.metrics["psnr"] for image in record.images]
    assert set(floats) == {"reconstruction", "final"}
    assert "floats.safetensors" in run.checksums(record.id).read_text()
