"""Attacks on tuning images: no evaluation image is seen, and record, row and rerun say which images it were."""

import pandas as pd

from gradinv.benchmark.datasets.base import Role
from gradinv.benchmark.datasets.registry import create_dataset
from gradinv.benchmark.runs.rerun import rerun_of
from gradinv.metrics.records.reading import read_records

ROLES: tuple[Role, ...] = ("evaluation", "tuning")


def test_tuning_rows_are_of_other_images_and_say_so(write_suite, run_suite, tmp_path):
    suite = write_suite(controls=["other_gradient", "same_class"], batches=3, batch_sizes=[2])
    for role in ROLES:
        assert run_suite(suite, "--split", role, "--no-figures", out=tmp_path / role).status == 0
    seen = {}
    for role in ROLES:
        records, faults = read_records([tmp_path / role])
        assert not faults
        assert {record.cell.split for record in records} == {role}
        assert set(pd.read_csv(tmp_path / role / "leaderboard.csv")["split"]) == {role}
        seen[role] = {image.image for record in records for image in record.images}
        dataset = create_dataset("photos")
        assert seen[role] <= {dataset.split(role).image_hash(index) for index in range(len(dataset.split(role)))}
        # Only a suite that says so attacks tuning images, when a row is run again.
        assert ("split: tuning" in rerun_of("again", records, []).suite) == (role == "tuning")
    assert not seen["tuning"] & seen["evaluation"]


def test_the_decoys_of_tuning_batches_are_tuning_images(write_suite, run_suite, tmp_path, monkeypatch):
    from gradinv.benchmark.experiment import controls

    drawn = []
    original = controls.draw_like
    monkeypatch.setattr(controls, "draw_like", lambda *a, **k: drawn.append(original(*a, **k)) or drawn[-1])
    run_suite(write_suite(controls=["other_gradient", "same_class"]), "--split", "tuning", "--no-figures", "--jobs", 1)
    assert [batch.role for batch in drawn] == ["tuning", "tuning"]


def test_an_attacker_is_not_handed_the_private_images_as_public_ones(write_suite, run_suite):
    suite = write_suite(victims=[{"model": "test_resnet", "state": "untrained"}])
    result = run_suite(suite, "--split", "tuning", "--set", "threat_model.bn_statistics=proxy")
    assert (result.status, result.out) == (2, "")
    assert result.err.endswith("bn_statistics proxy are those of tuning images; attack the evaluation images\n")
