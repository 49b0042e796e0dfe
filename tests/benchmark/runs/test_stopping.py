"""What ends a run from outside: one line, nothing lost, no traceback, no process left."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradinv.benchmark.stopping import Stopped


@pytest.mark.parametrize(
    ("stop", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (Stopped(signal.SIGINT), 130, "stopped"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (OSError(28, "No space left on device", "a.json"), 1, "a.json: No space left on device"),
        (OSError(5, "Input/output error"), 1, "Input/output error"),
    ],
)
def test_what_ends_a_run_from_outside_is_one_line_that_says_how_to_go_on(
    gradinv, write_suite, monkeypatch, tmp_path, stop, status, words
):
    def ended(plan, options, console):
        options.run.trial("0123456789abcdef").mkdir(parents=True)
        raise stop

    monkeypatch.setattr("gradinv.benchmark.runs.run_plan", ended)
    result = gradinv("run", write_suite(), "--out", tmp_path / "run", "--device", "cpu")
    line = f"gradinv: {words}; 1 record kept; the same command goes on from here\n"
    assert (result.status, result.err) == (status, line)


@pytest.mark.parametrize(("full", "kept"), [("record.json", 1), ("leaderboard.csv", 2)])
def test_a_full_disk_keeps_what_was_written(run_suite, write_suite, monkeypatch, tmp_path, full, kept):
    suite = write_suite(attacks=["dlg", "idlg"])
    write, seen = Path.write_text, []

    def write_text(path, text, **options):
        name = full.partition(".")[0]
        seen.extend([path] if name in path.name else [])
        # The first record still fits, the first board does not.
        if seen[kept % 2 :] and path == seen[-1]:
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_text)
        result = run_suite(suite)
    assert result.status == 1
    assert result.err.splitlines()[-1].endswith(
        f"No space left on device; {kept} record{'s' * (kept > 1)} kept; the same command goes on from here"
    )
    assert "Traceback" not in result.err
    assert f"{kept} done before" in run_suite(suite).out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_says_one_line_and_shows_no_traceback(write_suite, tmp_path, tools, number):
    plugin = tools.make_plugin(tmp_path / "endless.py", "endless")
    suite = write_suite(attacks=["endless[accident=endless]"])
    command = [sys.executable, "-P", "-c", "from gradinv.benchmark.cli import main; main()", "run", suite]
    options = ["--plugin", plugin, "--out", tmp_path / "run", "--jobs", "1", "--no-figures", "--device", "cpu"]
    with subprocess.Popen(
        [*map(str, command + options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        while "ENDLESS" not in process.stdout.readline():
            pass
        for _ in range(3):
            process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert said.count("gradinv: ") <= 1
