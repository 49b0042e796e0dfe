"""`gradinv tune` from end to end: on tuning images alone, never worse than published, resumable, its rows say so."""

import shutil

import pandas as pd
import pytest
import yaml

from gradinv.benchmark.datasets.registry import create_dataset
from gradinv.metrics.records.reading import read_records

ATTACK = "inverting_gradients"


@pytest.fixture
def tune(gradinv, write_suite, tmp_path):
    """`tune(*options, attack=ATTACK, suite=...)`: few settings on two batches of photos, into tmp_path/tuned."""
    suite = write_suite(attacks=["idlg"], batches=2, budget=6)

    def run(*options, attack=ATTACK, suite=suite):
        few = ("--trials", 4, "--batches", 2, "--name", "mine", "--jobs", 1, "--device", "cpu")
        return gradinv("tune", attack, suite, "--out", tmp_path / "tuned", *few, *options)

    return run


def hashes(role):
    split = create_dataset("photos").split(role)
    return {split.image_hash(index) for index in range(len(split))}


def test_tuned_on_tuning_images_at_least_as_good_as_published_and_named_in_the_row(
    tune, run_suite, write_suite, tmp_path
):
    result = tune()
    path = tmp_path / "tuned" / "mine.yaml"
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines()[-1].endswith(f"--plugin {path} --attack {ATTACK}.mine")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    tuning, digest = content["tuning"], content["hash"]
    records, _ = read_records([tmp_path / "tuned"])
    seen = {image.image for record in records for image in record.images}
    assert seen <= hashes("tuning")
    assert not seen & hashes("evaluation")
    assert {record.cell.split for record in records} == {"tuning"} == {tuning["split"]}
    assert tuning["evaluations"] == sum(record.evaluations for record in records) == 6 * len(records)
    assert tuning["best"] >= tuning["published"]
    assert tuning["trials"] == 4

    # The published weights were one of the settings, to the digit; and the suite finds what the file claims.
    keys = [f"{ATTACK}.mine", f"{ATTACK}[alpha_tv=0.1,lr=0.1]"]
    run_suite(write_suite(attacks=keys, batches=2, budget=6), "--plugin", path, "--split", "tuning")
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    tuned, published = board.iloc[0], board.iloc[1]
    assert tuned["psnr_mean"] == pytest.approx(tuning["best"], abs=1e-6)
    assert published["psnr_mean"] == pytest.approx(tuning["published"], abs=1e-6)
    assert (tuned["tuning"], published["tuning"]) == (f"tuned:{digest}", "suite")
    assert tuned["preset"] == "mine"


def test_a_tuning_goes_on_where_it_was_stopped_with_any_number_of_workers(tune, tmp_path):
    tune()
    path = tmp_path / "tuned" / "mine.yaml"
    whole = path.read_text(encoding="utf-8")
    trials = sorted((tmp_path / "tuned" / "trials").iterdir())
    for folder in trials[::3]:
        shutil.rmtree(folder)
    path.unlink()
    kept = {folder: (folder / "record.json").stat().st_mtime_ns for folder in trials if folder.exists()}
    assert tune("--jobs", 2).status == 0
    assert path.read_text(encoding="utf-8") == whole
    assert {folder: (folder / "record.json").stat().st_mtime_ns for folder in kept} == kept
    assert sorted((tmp_path / "tuned" / "trials").iterdir()) == trials


@pytest.mark.parametrize(
    ("options", "settings", "reason"),
    [
        (["--objective", "ssim"], {}, "unknown objective 'ssim'; "),
        (["--name", "a b"], {}, "--name a b: letters, digits and _ alone"),
        ([], {"batch_sizes": [1, 2]}, "tuning is for one cell, and tiny has 2 (such as lenet_dlg none 1 and"),
        ([], {"attack": "dgl"}, "unknown attack 'dgl'; did you mean dlg"),
        ([], {"attack": "april"}, "april declares no hyperparameter to tune"),
        ([], {"attack": "gradinversion.fidelity"}, "is impossible in this cell: "),
        (["--set", "budget=0"], {}, "--set budget: "),
        (["--victim", "resnet*"], {}, "nothing of suite tiny is left"),
    ],
)
def test_a_wrong_request_is_one_line(tune, write_suite, tmp_path, options, settings, reason):
    attack = settings.pop("attack", ATTACK) if settings else ATTACK
    result = tune(*options, attack=attack, suite=write_suite(**settings))
    assert (result.status, result.out) == (2, "")
    assert reason in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "tuned" / "trials").exists()
