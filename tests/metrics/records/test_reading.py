"""Records come back from disk, and what is no record says so in one line and costs nothing else."""

import gc
import json
import math
import os
from pathlib import Path

import pytest

from gradinv.metrics.records.reading import (
    RecordsError,
    batch_mean,
    batch_values,
    image_metrics,
    metric_names,
    read_records,
    trials_by_cell,
)
from gradinv.metrics.records.validation import checksum_line

FIXTURES = Path(__file__).parent / "fixtures"


def test_reads_all_records_sorted_by_order(tmp_path, records, write_run):
    found, faults = read_records([write_run(tmp_path, reversed(records))])
    assert found == records
    assert faults == []


def test_infinite_values_survive_the_disk(tmp_path, make_record, write_run):
    found, _ = read_records([write_run(tmp_path, [make_record("dlg", 0, (math.inf, 3.0))])])
    assert found[0].images[0].metrics["psnr"] == math.inf


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no valid JSON"),
        ("", "is no valid JSON"),
        ('{"hello": 1}', "is no record of gradinv"),
        ("[1]", "is no record of gradinv"),
        ('{"schema_version": 4, "new": true}', "newer gradinv (schema 4"),
        (b"\xff\xfe", "is no valid JSON"),
        ("[" * 200_000, "is no valid JSON"),
        ('{"a":' * 200_000, "is no valid JSON"),
        ("9" * 10_000, "is no"),
        ('{"schema_version": 2, "cell": {}, "spec": {"sources": [1]}}', "is no record of gradinv"),
        ('{"schema_version": 1, "notes": {"a": 1}, "registrations": 3}', "is no record of gradinv"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_record_gets_one_line_and_others_survive(tmp_path, records, write_run, content, words):
    directory = write_run(tmp_path, records)
    folder = directory / "trials" / "broken"
    folder.mkdir()
    if content is not None:
        (folder / "record.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    found, faults = read_records([directory])
    assert found == records
    assert len(faults) == 1
    assert words in faults[0]
    assert str(folder) in faults[0]
    assert "delete the folder and run the suite again" in faults[0]
    assert "\n" not in faults[0]


def test_a_valid_record_of_a_newer_schema_is_refused(tmp_path, make_record, write_run):
    records = [make_record("dlg", 0, (1.0, 1.0)), make_record("dlg", 1, (1.0, 1.0), schema_version=4)]
    found, faults = read_records([write_run(tmp_path, records)])
    assert found == records[:1]
    assert "newer gradinv" in faults[0]


def test_a_record_in_the_folder_of_another_trial_is_refused(tmp_path, make_record, write_run):
    directory = write_run(tmp_path, [make_record("dlg", r, (1.0, 1.0)) for r in (0, 1)])
    trials = sorted((directory / "trials").iterdir())
    for name in ("record.json", "SHA256SUMS"):
        (trials[0] / name).write_bytes((trials[1] / name).read_bytes())
    found, faults = read_records([directory])
    assert [record.id for record in found] == [trials[1].name]
    assert "record of another trial" in faults[0]


def test_unfinished_folders_are_passed_over(tmp_path, records, write_run):
    directory = write_run(tmp_path, records)
    (directory / "trials" / ".writing-x").mkdir()
    assert read_records([directory]) == (records, [])


def test_a_trial_found_twice_counts_once_and_the_finished_one_wins(tmp_path, make_record, write_run):
    done = make_record("dlg", 0, (1.0, 1.0), date="2025-01-01")
    failed = done.model_copy(update={"state": "failed", "images": [], "reason": "no luck", "date": "2025-02-01"})
    first, second = write_run(tmp_path / "a", [done]), write_run(tmp_path / "b", [failed])
    assert read_records([first, second])[0] == read_records([second, first])[0] == [done]


@pytest.mark.parametrize("folder", ["", "trials"])
def test_a_directory_without_trials_is_an_error_in_one_line(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    with pytest.raises(RecordsError, match="holds no trials") as error:
        read_records([tmp_path])
    assert "\n" not in str(error.value)


def test_infinity_counts_as_the_cap_in_means(make_record):
    record = make_record("dlg", 0, (math.inf, 120.0, 10.0))
    assert batch_values(record, "psnr") == [100.0, 100.0, 10.0]
    assert batch_mean(record, "psnr") == pytest.approx(70.0)


def test_nan_and_absent_values_are_not_measured(make_record):
    record = make_record("dlg", 0, (math.nan, 10.0))
    assert batch_values(record, "psnr") == [10.0]
    assert batch_mean(record, "lpips_alex") is None
    assert batch_mean(make_record("dlg", 0, (1.0, 1.0), state="failed"), "psnr") is None


def test_a_metric_of_a_batch_has_one_value(make_record):
    record = make_record("dlg", 0, (1.0, 2.0), metrics={"label_accuracy": 0.5, "of_a_plugin": math.nan})
    assert batch_values(record, "label_accuracy") == [0.5]
    assert batch_values(record, "of_a_plugin") == []
    assert metric_names([record]) == ["fft2d", "gmsd", "label_accuracy", "of_a_plugin", "psnr", "ssim"]
    assert image_metrics([record]) == ["fft2d", "gmsd", "psnr", "ssim"]


def test_infinity_of_a_metric_without_cap_is_not_measured(make_record):
    content = json.loads(make_record("dlg", 0, (1.0, 1.0)).model_dump_json())
    content["images"][0]["metrics"] = {"of_a_plugin": math.inf}
    assert batch_values(type(make_record("dlg", 0)).model_validate(content), "of_a_plugin") == []


def test_a_record_of_schema_1_loads(tmp_path):
    folder = tmp_path / "trials" / "4d9e6f97134d519f"
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes((FIXTURES / "record-v1.json").read_bytes())
    found, faults = read_records([tmp_path])
    assert faults == []
    assert (found[0].schema_version, found[0].cell.key, found[0].state) == (3, "dlg", "done")
    assert batch_values(found[0], "psnr") == [6.552731037139893, 7.597253322601318]
    assert batch_values(found[0], "label_accuracy") == [0.5]


def test_reading_leaves_the_garbage_collector_as_it_was(tmp_path, records, write_run):
    directory = write_run(tmp_path, records)
    read_records([directory])
    assert gc.isenabled()
    gc.disable()
    try:
        read_records([directory])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_latest_trial_of_a_batch_counts(make_record):
    old = make_record("dlg", 0, (1.0, 1.0), id="old", date="2025-01-01")
    new = make_record("dlg", 0, (2.0,), id="new", date="2025-01-02")
    assert list(trials_by_cell([new, old]).values()) == [[new]]


@pytest.mark.parametrize(
    "change",
    [
        {"order": 2**63},
        {"evaluations": 2**80},
        {"snapshots": [2**63]},
        {"cell": {"image_size": 2**63}},
        {"cell": {"batch_size": 2**62}},
        {"images": {"label": 2**63}},
        {"images": {"slot": 10**40}},
    ],
)
def test_numbers_that_no_table_holds_are_refused_in_one_line(tmp_path, make_record, write_run, change):
    record = make_record("dlg", 0, (1.0, 1.0))
    directory = write_run(tmp_path, [record, make_record("dlg", 1, (1.0, 1.0))])
    content = json.loads(record.model_dump_json())
    for name, value in change.items():
        parts = [content] if not isinstance(value, dict) else content[name] if name == "images" else [content[name]]
        parts[0].update(value if isinstance(value, dict) else {name: value})
    path = directory / "trials" / record.id / "record.json"
    path.write_text(json.dumps(content))
    (path.parent / "SHA256SUMS").write_text(checksum_line(path.name, path.read_bytes()))
    found, faults = read_records([directory])
    assert len(found) == len(faults) == 1
    assert "\n" not in faults[0]


@pytest.mark.parametrize("name", ["record.json", "SHA256SUMS", "additions.json"])
def test_pipes_and_links_to_themselves_are_not_waited_for(tmp_path, records, write_run, name):
    trials = write_run(tmp_path, records) / "trials"
    os.mkfifo(trials / "pipe")
    (trials / "loop").symlink_to(trials / "loop")
    first, second, *_ = sorted(folder for folder in trials.iterdir() if folder.is_dir())
    for folder, make in ((first, os.mkfifo), (second, lambda path: path.symlink_to(path))):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
    found, faults = read_records([tmp_path])
    assert len(found) == len(records) - 2
    assert len(faults) == 2
