"""What is measured later stands beside the record, adds to it and replaces nothing of it."""

import math

import pytest

from gradinv.metrics.records.additions import Additions, add, read_additions, with_additions
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records

RANKS = {"identity_mine": [0.0, 0.25]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "additions.json"


@pytest.fixture
def record(make_record):
    return make_record("dlg", 0, (20.0, 24.0), judges={"identity_lowpass": "no weights"}, notes=["slow"])


def test_nothing_added_is_the_record_itself(path, record):
    assert read_additions(path) == Additions()
    assert with_additions(record, path) is record


def test_values_notes_details_and_judges_are_added(path, record):
    add(
        path,
        Additions(
            metrics=RANKS,
            notes={"identity_mine": "from pictures", "structure": "too small"},
            details={"identity_pool": [10.0, 9.0]},
            judges={"identity_mine": "somebody"},
        ),
    )
    got = with_additions(record, path)
    assert [image.metrics["identity_mine"] for image in got.images] == [0.0, 0.25]
    assert [image.details["identity_pool"] for image in got.images] == [10.0, 9.0]
    assert [image.metrics["psnr"] for image in got.images] == [20.0, 24.0]
    assert got.notes == ["slow", "identity_mine: from pictures", "structure: too small"]
    assert got.judges == {"identity_lowpass": "no weights", "identity_mine": "somebody"}
    assert "identity_mine" not in record.images[0].metrics, "the record that was read is as it was"


def test_what_was_not_measured_of_an_image_is_not_there(path, record):
    add(path, Additions(metrics={"identity_mine": [None, 0.5], "other": [math.nan, 1.0]}))
    first, second = with_additions(record, path).images
    assert not {"identity_mine", "other"} & {*first.metrics}
    assert (second.metrics["identity_mine"], second.metrics["other"]) == (0.5, 1.0)


def test_a_metric_that_the_record_has_is_refused_by_name(path, record):
    add(path, Additions(metrics=RANKS | {"psnr": [99.0, 99.0]}))
    with pytest.raises(ValueError, match=r"has psnr, which the record has already; delete it") as refused:
        with_additions(record, path)
    assert "\n" not in str(refused.value)


def test_details_and_judges_of_the_record_stay(path, make_record):
    record = make_record("dlg", 0, (20.0,), judges={"identity_lowpass": "then"})
    image = record.images[0].model_copy(update={"details": {"identity_pool": 1000.0}})
    record = record.model_copy(update={"images": [image]})
    later = {"details": {"identity_pool": [7.0]}, "judges": {"identity_lowpass": "now"}}
    add(path, Additions(metrics={"identity_mine": [0.0]}, **later))
    got = with_additions(record, path)
    assert got.images[0].details == {"identity_pool": 1000.0}
    assert got.judges == {"identity_lowpass": "then"}


@pytest.mark.parametrize(
    "column", [{"metrics": {"identity_mine": [0.0]}}, {"details": {"pool": [1.0]}, "notes": {"a": "b"}}]
)
def test_other_images_are_refused(path, record, column):
    add(path, Additions(**column))
    with pytest.raises(ValueError, match="has not one value for each image"):
        with_additions(record, path)


@pytest.mark.parametrize("text", ["{", '{"colours": {}}', '{"metrics": {"identity_mine": ["much"]}}'])
def test_a_broken_file_is_one_line(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match=r"cannot be read; delete it and measure again") as refused:
        read_additions(path)
    assert "\n" not in str(refused.value)


def test_later_values_replace_earlier_ones_and_others_stay(path):
    add(path, Additions(metrics={"a": [0.1], "b": [0.2]}, judges={"a": "x"}, notes={"c": "not here"}))
    add(path, Additions(metrics={"a": [0.3], "c": [0.4]}, judges={"c": "y"}))
    got = read_additions(path)
    assert got.metrics == {"a": [0.3], "b": [0.2], "c": [0.4]}
    assert got.judges == {"a": "x", "c": "y"}
    assert got.notes == {}, "what has values now needs no earlier reason"


def test_what_could_not_be_measured_again_has_its_reason_and_no_value(path):
    add(path, Additions(metrics={"a": [0.1], "b": [0.2]}))
    add(path, Additions(notes={"a": "no pictures"}))
    assert read_additions(path) == Additions(metrics={"b": [0.2]}, notes={"a": "no pictures"})


def test_a_reader_of_runs_sees_what_was_added_and_passes_over_what_contradicts(tmp_path, write_run, records):
    run = RunDirectory(write_run(tmp_path / "run", records[:2]))
    add(run.additions(records[0].id), Additions(metrics=RANKS))
    add(run.additions(records[1].id), Additions(metrics={"ssim": [1.0, 1.0]}))
    read, faults = read_records([run.path])
    assert [record.id for record in read] == [records[0].id]
    assert read[0].images[1].metrics["identity_mine"] == 0.25
    assert len(faults) == 1
    assert "has ssim, which the record has already" in faults[0]
