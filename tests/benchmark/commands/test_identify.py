"""`gradinv identify` on runs whose pictures are replaced by what must and what must not be identified."""

import csv
import json
import shutil

import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from gradinv.benchmark.executors.store import Store
from gradinv.benchmark.experiment import identity
from gradinv.benchmark.runs import identification
from gradinv.benchmark.runs.plan import Planner, hash_of
from gradinv.benchmark.runs.runner import RunOptions, run_plan
from gradinv.benchmark.runs.suite import load_suite
from gradinv.benchmark.victims import VictimSpec
from gradinv.metrics.images.structure import structure
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records

JUDGE = ["--network", "test_resnet", "--state", "untrained"]
EVERY = ("identity_lowpass", "structure")
"""Metrics of every trial."""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, tools):
    folder = tmp_path_factory.mktemp("identify")
    suite = load_suite(
        tools.make_suite(folder / "suite.yaml", controls=["mean_image"], batches=2, batch_sizes=[4], image_size=16)
    )
    plan = Planner(device="cpu", download=False).plan(suite, hash_of(suite))
    assert (
        run_plan(plan, RunOptions(RunDirectory(folder / "run"), jobs=1, figures=False), Console(quiet=True)).status == 0
    )
    return folder / "run"


@pytest.fixture
def run(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "cache"))
    identification._dataset.cache_clear()  # its pool remembers what judges saw in it
    return shutil.copytree(finished_run, tmp_path / "copy")


@pytest.fixture
def old_run(run):
    """The same run as it was written before every trial had these metrics."""
    for record in read_records([run])[0]:
        images = [
            image.model_copy(
                update={"metrics": {name: v for name, v in image.metrics.items() if name not in EVERY}, "details": {}}
            )
            for image in record.images
        ]
        rewrite(run, record.model_copy(update={"images": images, "judges": {}, "pool": ""}))
    return run


def rewrite(run, record):
    put(run, record, load_file(RunDirectory(run).tensors(record.id)))


def put(run, record, tensors):
    """A trial as if it had been run so; a finished one would stand."""
    shutil.rmtree(RunDirectory(run).trial(record.id))
    Store(RunDirectory(run)).write(record, tensors)


def replace_pictures(run, key, make):
    """Put `make(originals)` in place of every reconstruction of that key."""
    for record in read_records([run])[0]:
        if record.cell.key == key:
            tensors = load_file(RunDirectory(run).tensors(record.id))
            put(run, record, tensors | {"reconstruction": make(tensors["original"]).clone()})


def noise(images):
    return torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def column_of(run, chosen="test_resnet"):
    """The name of the metric of the judge that was chosen, which ends in a hash of its weights."""
    names = {name for record in read_records([run])[0] for image in record.images for name in image.metrics}
    (name,) = (name for name in names if name.startswith(f"identity_{chosen}-"))
    return name


def by_key(run, metric):
    records = read_records([run])[0]
    return {
        key: [image.metrics[metric] for record in records if record.cell.key == key for image in record.images]
        for key in ("dlg", "mean_image")
    }


def test_exact_pictures_are_first_and_noise_is_anywhere(gradinv, run):
    replace_pictures(run, "dlg", lambda originals: originals)
    replace_pictures(run, "mean_image", noise)
    result = gradinv("identify", run, *JUDGE)
    assert result.status == 0, result.err
    name = column_of(run)
    assert len(name.removeprefix("identity_test_resnet-")) == 8
    ranks = by_key(run, name)
    assert ranks["dlg"] == [0.0] * 8
    assert 0.2 < sum(ranks["mean_image"]) / 8 < 0.8
    assert 0.0 not in ranks["mean_image"]
    assert f"lenet_dlg untrained none B=4 dlg: {name} 0.000 [0.000, " in result.out
    assert "4 of 4 scored trials judged" in result.out


def test_the_board_has_the_judges_columns_and_stands_the_check(gradinv, run):
    replace_pictures(run, "dlg", lambda originals: originals)
    assert gradinv("identify", run, *JUDGE).status == 0
    name = column_of(run)
    with (run / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["attack"]: row for row in csv.DictReader(file)}
    assert float(rows["dlg"][f"{name}_mean"]) == 0.0
    assert f"{name}: measured from the stored 8-bit pictures" in rows["dlg"]["notes"]
    faults = gradinv("check", run / "leaderboard.csv", "--runs", run).err.splitlines()
    assert len(faults) == 2, "a control is missing and batches are few; the values themselves stand"
    assert "no control other_gradient or prior_only" in faults[0]
    assert "no attack has 8 batches" in faults[1]
    judges = {record.judges[name] for record in read_records([run])[0]}
    assert judges == {f"untrained on photos, weights {judge_weights(name)}"}


def judge_weights(name):
    """The whole hash behind a column's name, from what the first judge says of itself."""
    spec = VictimSpec(model="test_resnet", state="untrained", seed=1)
    judge = identification.chosen_judge(spec, download=False)("photos", 16)
    assert judge.metric == name
    return judge.weights_hash


def test_old_trials_get_the_metrics_of_every_trial_from_their_pictures(gradinv, old_run):
    replace_pictures(old_run, "dlg", lambda originals: originals // 2)
    assert set(read_records([old_run])[0][0].images[0].metrics) == {"psnr"}
    result = gradinv("identify", old_run)
    assert result.status == 0, result.err
    assert "4 of 4 scored trials judged" in result.out
    assert by_key(old_run, "identity_lowpass")["dlg"] == [0.0] * 8
    records = read_records([old_run])[0]
    for record in records:
        tensors = load_file(RunDirectory(old_run).tensors(record.id))
        made, true = (tensors[name].float() / 255 for name in ("reconstruction", "original"))
        values = [image.metrics["structure"] for image in record.images]
        assert values == pytest.approx(structure(made, true).tolist(), abs=1e-6)
        assert all(900 < image.details["identity_pool"] <= 1_000 for image in record.images)
        assert record.judges == {"identity_lowpass": "correlation of low-passed pictures, no weights"}
        assert "structure: measured from the stored 8-bit pictures" in record.notes


def test_what_a_trial_measured_itself_stays(gradinv, run):
    before = {record.id: record for record in read_records([run])[0]}
    replace_pictures(run, "dlg", noise)
    result = gradinv("identify", run)
    assert "0 of 4 scored trials judged" in result.out
    after = {record.id: record for record in read_records([run])[0]}
    assert [record.images for record in after.values()] == [record.images for record in before.values()]


def test_a_second_judge_stands_beside_the_first_and_the_first_is_not_lost(gradinv, run):
    replace_pictures(run, "dlg", lambda originals: originals)
    assert gradinv("identify", run, *JUDGE).status == 0
    first = column_of(run)
    assert gradinv("identify", run, *JUDGE, "--seed", 2).status == 0
    names = {name for name in read_records([run])[0][0].images[0].metrics if "test_resnet" in name}
    assert first in names
    assert len(names) == 2
    assert all(by_key(run, name)["dlg"] == [0.0] * 8 for name in names)


def test_the_pools_features_come_from_the_cache(gradinv, run, monkeypatch):
    assert gradinv("identify", run, *JUDGE).status == 0
    ranks, name = by_key(run, column_of(run)), column_of(run)
    for record in read_records([run])[0]:
        RunDirectory(run).additions(record.id).unlink()
    identification._dataset.cache_clear()
    seen = []
    features = identity.NetworkJudge.features

    def counted(judge, images):
        seen.append(len(images))
        return features(judge, images)

    monkeypatch.setattr(identity.NetworkJudge, "features", counted)
    assert gradinv("identify", run, *JUDGE).status == 0
    assert by_key(run, name) == ranks
    assert seen == [4, 4] * 4, "the reconstructions and the originals, never the pool"


def test_the_attacked_victim_is_no_judge_and_the_others_still_are(gradinv, old_run):
    result = gradinv("identify", old_run, "--network", "lenet_dlg", "--state", "untrained", "--seed", 0)
    assert result.status == 0, result.err
    assert "4 of 4 scored trials judged" in result.out
    for record in read_records([old_run])[0]:
        assert set(record.images[0].metrics) == {"psnr", *EVERY}
        (note,) = (note for note in record.notes if "victim itself" in note)
        assert note.startswith("identity_lenet_dlg-")
    other = gradinv("identify", old_run, "--network", "lenet_dlg", "--state", "untrained", "--seed", 1)
    assert "4 of 4 scored trials judged" in other.out


def test_missing_pictures_and_other_data_are_reasons(gradinv, old_run):
    first, second, *_ = read_records([old_run])[0]
    image = second.images[0].model_copy(update={"image": "0" * 16})
    rewrite(old_run, second.model_copy(update={"images": [image, *second.images[1:]]}))
    RunDirectory(old_run).tensors(first.id).unlink()
    result = gradinv("identify", old_run, *JUDGE)
    assert result.status == 0, result.err
    assert "2 of 4 scored trials judged" in result.out
    notes = {record.id: record.notes for record in read_records([old_run])[0]}
    name = column_of(old_run)
    assert not any(note.startswith("label_accuracy") for note in notes[first.id]), "no picture is needed for it"
    for metric in (*EVERY, name):
        assert f"{metric}: the trial's pictures are not on disk" in notes[first.id]
        assert f"{metric}: the data set here is not the one of the trial" in notes[second.id]
    assert f"{name}: the trial's pictures are not on disk" in (old_run / "leaderboard.csv").read_text(encoding="utf-8")


def test_pictures_that_are_not_those_of_the_run_are_no_evidence(gradinv, old_run):
    path = RunDirectory(old_run).tensors(read_records([old_run])[0][0].id)
    tensors = load_file(path)
    save_file(tensors | {"reconstruction": tensors["original"].clone()}, path)
    assert "3 of 4 scored trials judged" in gradinv("identify", old_run).out
    notes = [note for record in read_records([old_run])[0] for note in record.notes]
    assert sum("do not fit its SHA256SUMS" in note for note in notes) == 2


def test_trials_that_were_not_scored_are_passed_over(gradinv, run):
    first = read_records([run])[0][0]
    rewrite(run, first.model_copy(update={"state": "failed", "reason": "no luck", "images": [], "metrics": {}}))
    assert "3 of 3 scored trials judged" in gradinv("identify", run, *JUDGE).out
    assert not RunDirectory(run).additions(first.id).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "test_resnet"], "make it: gradinv train test_resnet --dataset photos --image-size 16 --seed 1"),
        (["--network", "test_resnt", "--state", "untrained"], "did you mean test_resnet"),
        (["--network", "test_resnet", "--weights", "nowhere.pth"], "weight file nowhere.pth does not exist"),
        ([*JUDGE, "--epochs", 1], "--state untrained: epochs is for state trained"),
    ],
)
def test_a_judge_that_cannot_be_had_is_one_line_and_nothing_is_trained(gradinv, run, arguments, message):
    result = gradinv("identify", run, *arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not list(run.rglob("additions.json"))


def test_a_network_with_two_classifiers_is_refused_in_one_line(gradinv, run, monkeypatch):
    monkeypatch.setattr(timm.models.resnet.ResNet, "get_classifier", lambda _: (None, None))
    result = gradinv("identify", run, *JUDGE)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "has not one classifier, so that it cannot judge" in result.err


def test_additions_are_plain_json(gradinv, run):
    assert gradinv("identify", run, *JUDGE).status == 0
    files = list(run.rglob("additions.json"))
    assert len(files) == 4
    for file in files:
        assert set(json.loads(file.read_text(encoding="utf-8"))) == {"metrics", "notes", "details", "judges"}
