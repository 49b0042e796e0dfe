"""What the file system refuses is one line; of text from elsewhere nothing reaches a terminal but words."""

import csv
import os
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records
from gradinv.metrics.records.validation import checksums

READING = [["status"], ["leaderboard"], ["plot", "--out", "OUT"]]


@pytest.fixture
def finished_run(run_suite, write_suite, tmp_path):
    """The directory of a small finished run."""
    run_suite(write_suite(controls=["mean_image"]))
    return tmp_path / "run"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "quick", "--out", ""],
        ["run", "quick", "--out="],
        ["leaderboard", "runs", "--csv", ""],
        ["labels", "--dataset", "photos", "--model", "lenet_dlg", "--out", ""],
        ["list", ""],
    ],
)
def test_empty_values_are_refused(gradinv, arguments):
    result = gradinv(*arguments)
    assert result.status == 2
    assert "the value is empty" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["run", "quick", "--device", "cpu"], "--out"),
        (["labels", "--dataset", "photos", "--model", "lenet_dlg"], "--out"),
        (["plot", "nowhere"], "--out"),
        (["leaderboard", "nowhere"], "--csv"),
        (["leaderboard", "nowhere"], "--latex"),
        (["leaderboard", "nowhere"], "--html"),
        (["compare", "nowhere", "--attack", "dlg"], "--csv"),
    ],
)
@pytest.mark.parametrize("place", ["below a file", "too long"])
def test_places_that_cannot_be_written_are_refused_before_anything_is_read(gradinv, tmp_path, command, option, place):
    (tmp_path / "file").touch()
    path = {"below a file": tmp_path / "file" / "x" / "y", "too long": tmp_path / ("x" * 300)}[place]
    result = gradinv(*command, option, path)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"gradinv: {option} {path}: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("command", [["leaderboard", "runs"], ["compare", "runs", "--attack", "dlg"]])
def test_a_table_is_not_written_over_a_folder(gradinv, tmp_path, command):
    result = gradinv(*command, "--csv", tmp_path)
    assert (result.status, result.err) == (2, f"gradinv: --csv {tmp_path}: is a folder; give the path of a file\n")


def test_an_oserror_of_any_verb_is_one_line(gradinv, finished_run, monkeypatch, tmp_path):
    def full(path, text, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    result = gradinv("leaderboard", finished_run, "--csv", tmp_path / "a.csv")
    assert result.status == 1
    assert result.err.endswith(": No space left on device\n")
    assert "Traceback" not in result.err


def test_a_cache_that_cannot_be_written_is_named_before_training(gradinv, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "file"))
    result = gradinv("train", "lenet_dlg", "--epochs", 1)
    assert result.status == 2
    assert "GRADINV_CACHE" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["run", "a\nb"], ["check", "a\nb.csv"], ["list", "attacks", "--plugin", "a\nb.py"]]
)
def test_a_line_end_in_a_path_does_not_break_the_line(gradinv, arguments):
    result = gradinv(*arguments)
    assert result.status == 2
    assert r"a\nb" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("arguments", READING)
def test_records_send_nothing_to_the_terminal_but_words(gradinv, run_suite, write_suite, tmp_path, tools, arguments):
    plugin = tools.make_plugin(tmp_path / "loud.py", "loud")
    run_suite(write_suite(attacks=["loud[accident=escape]"]), "--plugin", plugin)
    run = RunDirectory(tmp_path / "run")
    record = read_records([run.path])[0][0]
    hostile = record.model_copy(update={"reason": "\x1b[31m\x07red\x9b1m\u202e"})
    run.record(record.id).write_text(hostile.model_dump_json())
    run.checksums(record.id).unlink()
    for folder in (record.id, "broken"):
        run.trial(folder).mkdir(exist_ok=True)
    run.record("broken").write_text('{"state": "\\u001b[31m"}')
    result = gradinv(arguments[0], run.path, *(str(tmp_path / "out") if a == "OUT" else a for a in arguments[1:]))
    assert not set("\x1b\x07\x9b\u202e") & set(result.out + result.err)
    assert "Traceback" not in result.err


def test_cells_of_a_board_begin_no_formula(gradinv, finished_run, tmp_path):
    run = RunDirectory(finished_run)
    record = next(record for record in read_records([run.path])[0] if record.cell.attack == "dlg")
    run.record(record.id).write_text(record.model_copy(update={"notes": ["=cmd|' /C calc'!A0"]}).model_dump_json())
    run.checksums(record.id).write_text(checksums(run, record.id))
    board = tmp_path / "board.csv"
    assert gradinv("leaderboard", finished_run, "--csv", board).status == 0
    with board.open(newline="", encoding="utf-8") as file:
        notes = [row["notes"] for row in csv.DictReader(file)]
    assert any("=cmd|" in note for note in notes)
    assert not any(note.startswith(tuple("=+-@\t\r")) for note in notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quick", "--trial-timeout", "0"], "--trial-timeout"),
        (["run", "quick", "--jobs", "100000"], "--jobs"),
        (["train", "lenet_dlg", "--seed", "-1"], "--seed"),
        (["labels", "--dataset", "photos", "--model", "lenet_dlg", "--out", "x", "--seed", "-1"], "--seed"),
        (
            ["labels", "--dataset", "photos", "--model", "lenet_dlg", "--out", "x", "--batches", "100000000"],
            "--batches",
        ),
        (["identify", "x", "--seed", "-1"], "--seed"),
    ],
)
def test_numbers_beyond_reason_are_refused(gradinv, arguments, message):
    result = gradinv(*arguments)
    assert result.status == 2
    assert message in result.err


def test_a_trial_timeout_needs_an_alarm_or_workers(gradinv, write_suite, monkeypatch, tmp_path):
    monkeypatch.setattr("gradinv.benchmark.commands.run.HAS_ALARM", False)
    arguments = ["--out", tmp_path / "run", "--trial-timeout", 5, "--jobs", 1, "--device", "cpu"]
    result = gradinv("run", write_suite(), *arguments)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "add --jobs 2" in result.err


PLUGIN = """
from pathlib import Path
import helper_beside_the_plugin
Path(__file__).with_suffix(".loaded").touch()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "nowhere"],
        ["labels", "--dataset", "photos", "--model", "nowhere", "--out", "OUT"],
        ["identify", "OUT"],
    ],
)
def test_every_verb_that_builds_something_takes_plugins(gradinv, tmp_path, arguments):
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "helper_beside_the_plugin.py").touch()
    result = gradinv(*(tmp_path / "out" if a == "OUT" else a for a in arguments), "--plugin", tmp_path / "mine.py")
    assert result.status == 2
    assert (tmp_path / "mine.loaded").exists()


def test_labels_are_inferred_of_weights_of_one_s_own(gradinv, tmp_path):
    network = build_network("lenet_dlg", num_classes=8, image_size=32, seed=5)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    arguments = ["--dataset", "photos", "--model", "lenet_dlg", "--image-size", 32, "--out", tmp_path / "out"]
    few = ["--batch-size", 1, "--batches", 2, "--state", "trained", "--device", "cpu"]
    result = gradinv("labels", *arguments, *few, "--weights", tmp_path / "mine.safetensors")
    assert result.status == 0, result.err
    with (tmp_path / "out" / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert {row["victim"] for row in csv.DictReader(file)} == {"lenet_dlg[weights=mine.safetensors]"}


def test_check_names_weights_that_are_not_finite(gradinv, write_suite, tmp_path):
    network = build_network("lenet_dlg", num_classes=8, image_size=32)
    state = {name: torch.full_like(value, torch.nan) for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "nan.safetensors")
    victims = [{"model": "lenet_dlg", "state": "trained", "weights": str(tmp_path / "nan.safetensors")}]
    result = gradinv("check", write_suite(victims=victims, image_size=32))
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "not finite (NaN or infinity)" in result.err


@pytest.mark.parametrize("content", [None, b"", b"no suite", b"[" * 100_000, "pipe"])
def test_a_suite_in_a_run_directory_that_is_none_is_one_line(gradinv, finished_run, tmp_path, content):
    suite = RunDirectory(finished_run).suite
    suite.unlink()
    if content == "pipe":
        os.mkfifo(suite)
    elif content is not None:
        suite.write_bytes(content)
    result = gradinv("plot", finished_run, "--out", tmp_path / "figures")
    assert result.status == (2 if isinstance(content, bytes) else 0), result.err
    assert result.err.count("\n") == isinstance(content, bytes)


def test_the_command_says_which_gradinv_it_is(gradinv):
    assert gradinv("--version").out == f"gradinv {version('gradinv')}\n"


@pytest.mark.parametrize("verb", [[], ["run"], ["check"]])
def test_a_short_option_asks_for_help(gradinv, verb):
    assert "Usage: gradinv" in gradinv(*verb, "-h").out
