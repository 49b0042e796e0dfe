"""`gradinv iip` on runs whose pictures are replaced by what must and what must not be identified."""

import csv
import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from gradinv.benchmark.runs import identification
from gradinv.benchmark.runs.plan import Planner, hash_of
from gradinv.benchmark.runs.runner import RunOptions, run_plan
from gradinv.benchmark.runs.store import Store
from gradinv.benchmark.runs.suite import load_suite
from gradinv.benchmark.victims.networks import VictimError
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records

JUDGE = ["--network", "test_resnet", "--state", "untrained", "--device", "cpu"]
POOL = "iip_test_resnet_512"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, tools):
    folder = tmp_path_factory.mktemp("iip")
    suite = load_suite(
        tools.make_suite(folder / "suite.yaml", controls=["mean_image"], batches=2, batch_sizes=[4], image_size=16)
    )
    plan = Planner(device="cpu", download=False).plan(suite, hash_of(suite))
    assert run_plan(plan, RunOptions(RunDirectory(folder / "run"), jobs=1, figures=False), Console(quiet=True)) == 0
    return folder / "run"


@pytest.fixture
def run(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(finished_run, tmp_path / "copy")


def replace_pictures(run, key, make):
    """Put `make(originals)` in place of every reconstruction of that key."""
    for record in read_records([run])[0]:
        if record.cell.key == key:
            path = RunDirectory(run).tensors(record.id)
            tensors = load_file(path)
            save_file(tensors | {"reconstruction": make(tensors["original"]).clone()}, path)


def shares(run):
    with (run / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["attack"]: [row[f"{name}_mean"] for name in (POOL, f"{POOL}_class")] for row in rows}


def test_exact_images_are_identified_and_noise_is_not(gradinv, run):
    replace_pictures(run, "dlg", lambda originals: originals)
    replace_pictures(run, "mean_image", lambda images: torch.randint(0, 256, images.shape, dtype=torch.uint8))
    result = gradinv("iip", run, *JUDGE)
    assert result.status == 0, result.err
    assert shares(run)["dlg"] == ["1.0", "1.0"]
    assert float(shares(run)["mean_image"][0]) <= 1 / 8
    assert f"dlg: {POOL} 100.0 % [15.8, 100.0], 2 batches" in result.out
    assert "4 of 4 scored trials judged" in result.out
    assert "iip" not in gradinv("check", run / "leaderboard.csv", "--runs", run).err


def test_the_pool_is_computed_once(gradinv, run, monkeypatch):
    first = gradinv("iip", run, *JUDGE).out
    calls = []
    features = identification._features

    def counted(network, batches, device):
        calls.append(1)
        return features(network, batches, device)

    monkeypatch.setattr(identification, "_features", counted)
    assert gradinv("iip", run, *JUDGE).out == first
    assert len(calls) == 4, "the reconstructions' own"


def test_the_attacked_victim_is_no_judge(gradinv, run):
    result = gradinv("iip", run, "--network", "lenet_dlg", "--state", "untrained", "--seed", 0)
    assert (result.status, "0 of 4 scored trials judged" in result.out) == (0, True)
    assert "iip_lenet_dlg_512: the network would be the attacked victim itself" in (
        (run / "leaderboard.csv").read_text(encoding="utf-8")
    )


def test_missing_pictures_and_other_data_are_reasons(gradinv, run, monkeypatch):
    first, second, *_ = read_records([run])[0]
    RunDirectory(run).tensors(first.id).unlink()
    image = second.images[0].model_copy(update={"image": "0" * 16})
    foreign = second.model_copy(update={"images": [image, *second.images[1:]]})
    Store(RunDirectory(run)).write(foreign, load_file(RunDirectory(run).tensors(second.id)))
    result = gradinv("iip", run, *JUDGE)
    assert "2 of 4 scored trials judged" in result.out
    board = (run / "leaderboard.csv").read_text(encoding="utf-8")
    assert f"{POOL}: the trial's pictures are not on disk" in board
    assert f"{POOL}: the data set here is not the one of the trial" in board


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "test_resnet"], "make it: gradinv train test_resnet --dataset photos --image-size 16 --seed 1"),
        (["--network", "test_resnt"], "did you mean test_resnet"),
        (["--weights", "nowhere.pth"], "weight file nowhere.pth does not exist"),
        (["--state", "untrained", "--epochs", 1], "--state untrained: epochs is for state trained"),
    ],
)
def test_a_judge_that_cannot_be_had_is_one_line_and_nothing_is_trained(gradinv, run, arguments, message):
    result = gradinv("iip", run, *arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not list(run.rglob("additions.json"))


def test_trials_of_a_data_set_without_a_judge_get_the_reason_and_the_others_are_judged(run, monkeypatch):
    records = read_records([run])[0]
    larger = records[0].model_copy(update={"spec": records[0].spec | {"image_size": 32}})
    original = identification.judge_for

    def only_16(spec, dataset, **options):
        if dataset.image_size != 16:
            raise VictimError("no weights for it")
        return original(spec, dataset, **options)

    monkeypatch.setattr(identification, "judge_for", only_16)
    judge = VictimSpec(model="test_resnet", state="untrained", seed=1)
    assert identification.identify(RunDirectory(run), [larger, *records[1:]], judge, device="cpu", download=False) == 3
    judged = {record.id: record for record in read_records([run])[0]}
    assert any(note.startswith("iip_test_resnet_") and "no weights for it" in note for note in judged[larger.id].notes)
    assert POOL not in judged[larger.id].images[0].metrics
    assert POOL in judged[records[1].id].images[0].metrics
