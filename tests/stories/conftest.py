"""Stories run the command as users do: in processes of their own, none of which knows what another has loaded."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

# One fresh process imports torch and what `PREPARE` says; each command then runs in a fork of it, one after another.
FORKS = """
import json, os, sys
from gradinv.benchmark.cli import main

PREPARE
for name, arguments in json.loads(sys.argv[1]).items():
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, file=open(f"{name}.status", "w"))
        continue
    for stream, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{ending}", os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = ["gradinv", *arguments]
    main()
    sys.exit()
"""


@pytest.fixture(scope="session")
def run_in_forks() -> Callable[..., dict[str, int]]:
    """Runs commands by name in a folder, which then has NAME.out, NAME.err and NAME.status; name -> exit status."""

    def run(folder: Path, commands: Mapping[str, Sequence[str]], prepare: str) -> dict[str, int]:
        environment = os.environ | {"GRADINV_CACHE": str(folder), "GRADINV_DATA": str(folder), "OMP_NUM_THREADS": "1"}
        script = [sys.executable, "-P", "-c", FORKS.replace("PREPARE", prepare), json.dumps(commands)]
        subprocess.run(script, cwd=folder, env=environment, check=True)
        return {name: int((folder / f"{name}.status").read_text()) for name in commands}

    return run
