"""docs/python.md: every block runs as it stands, each in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
# One fresh process imports torch; each block then runs in a fork of it.
SCRIPT = """
import json, os, sys
import gradinv.benchmark.api.running

for number, block in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            sys.exit(f"block {number} ended badly")
        continue
    exec(compile(block, f"block {number}", "exec"), {"__name__": "__main__"})
    sys.exit()
"""


def test_every_block_runs_as_it_stands(tmp_path):
    assert len(BLOCKS) == 3
    environment = os.environ | {"GRADINV_CACHE": str(tmp_path), "GRADINV_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, json.dumps(BLOCKS)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "inverting_gradients against idlg: " in ended.stdout
