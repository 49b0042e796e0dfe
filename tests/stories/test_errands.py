"""The recipes of CONTRIBUTING.md: every example is a plug-in as it stands, every command that shows it ends well."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ERRANDS = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Errands\n")[2]
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", ERRANDS, re.DOTALL | re.MULTILINE))
COMMANDS = [shlex.split(line) for line in re.findall(r"^gradinv .*$", ERRANDS, re.MULTILINE)]
FAST = ["--set", "budget=4", "--batch-size", "1", "--limit", "1", "--jobs", "1", "--device", "cpu", "--no-figures"]
NAMED = r'^@register_\w+\("(\w+)"|^@register_model\ndef (\w+)'
# One fresh process imports torch; each command then runs in a fork of it, which knows only the plug-ins that it names.
SCRIPT = """
import contextlib, json, os, sys
import gradinv.benchmark.commands.show
import gradinv.benchmark.runs.runner
from gradinv.benchmark.cli import main

for index, arguments in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            print("ended badly:", *arguments, file=sys.stderr)
        continue
    sys.argv = arguments
    with open(f"{index}.txt", "w") as said, contextlib.redirect_stdout(said):
        main()
    sys.exit()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the examples lie and every command has run: the N-th printed what `N.txt` holds, its board is in `runN`."""
    path = tmp_path_factory.mktemp("errands")
    for name, source in FILES.items():
        (path / name).write_text(source, encoding="utf-8")
    commands = [
        [*command, *FAST, "--out", f"run{index}"] if command[1] == "run" else command
        for index, command in enumerate(COMMANDS)
    ]
    environment = os.environ | {"GRADINV_CACHE": str(path / "cache"), "GRADINV_DATA": str(path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, json.dumps(commands)],
        cwd=path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, "ended badly" in ended.stderr) == (0, False), ended.stderr
    return path


def names_of(file):
    """What the example registers."""
    return [first or second for first, second in re.findall(NAMED, FILES[file], re.MULTILINE)]


def bare(value):
    """A key without its parameters; of a label method (`inferred:NAME`) the rule."""
    return value.split("[")[0].rpartition(":")[2]


def rows_of(folder, index):
    """The rows of the board that the command wrote."""
    path = folder / f"run{index}" / "leaderboard.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_example_is_run_by_a_command():
    assert FILES
    assert {word for command in COMMANDS for word in command if word.endswith(".py")} == set(FILES)
    assert all(names_of(file) for file in FILES)


@pytest.mark.parametrize("file", FILES)
def test_an_example_has_its_rows_on_the_board(folder, file):
    (index,) = [index for index, command in enumerate(COMMANDS) if file in command and command[1] == "run"]
    rows = [row for row in rows_of(folder, index) if row["is_control"] == "false"]
    for name in names_of(file):
        columns = [column for column in rows[0] if column.startswith(name)]  # of a metric
        entries = [row for row in rows if columns or any(bare(value) == name for value in row.values())]
        assert entries, name
        assert {row["state"] for row in entries} == {"done"}, [row["notes"] for row in entries]
        assert all(row[f"{name}_mean"] for row in entries if columns)


def test_a_loop_of_its_own_has_its_curve_its_snapshots_and_its_control(folder):
    (index,) = [index for index, command in enumerate(COMMANDS) if "attacks.py" in command]
    records = [json.loads(path.read_text()) for path in (folder / f"run{index}" / "trials").glob("*/record.json")]
    mine = [record for record in records if record["cell"]["attack"] == "sign_descent"]
    assert [[step for step, _ in record["curve"]] for record in mine] == [[1, 2, 3, 4]]
    assert [record["snapshots"] for record in mine] == [[1, 2, 4]]
    assert all(len(record["snapshot_psnr"]) == 3 for record in mine)
    blind = [r for r in records if r["cell"]["attack"] == "prior_only" and r["cell"]["preset"] == "sign_descent"]
    assert [(record["state"], record["evaluations_counted"]) for record in blind] == [("done", 0)]


def test_what_shows_an_entry_says_what_its_file_says(folder):
    shown = [(index, command) for index, command in enumerate(COMMANDS) if command[1] == "show"]
    assert shown
    for index, (_, _, _, name, _, file) in shown:
        assert name in names_of(file)
        assert (folder / f"{index}.txt").read_text(encoding="utf-8").splitlines()[0] in FILES[file]
