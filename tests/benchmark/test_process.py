"""A process that runs trials keeps the memory that it frees, and knows where compiled programs are cached."""

import os
import platform
import subprocess
import sys

SCRIPT = """
import resource, torch
{prepare}
def run():
    for _ in range(10):
        [torch.empty(5_000_000).fill_(1.0) for _ in range(8)]
run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(prepare):
    """Pages that were mapped while eight tensors of 20 MB were filled and freed together, ten times."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", SCRIPT.format(prepare=prepare)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def test_freed_memory_is_kept():
    prepared = faults("from benchmark.process import prepare_process; prepare_process()")
    if platform.libc_ver()[0] == "glibc":
        assert prepared < 1_000
        assert faults("") > 10 * 8 * 1_000
    else:
        assert prepared >= 0


def test_compiled_programs_are_cached_beside_victims_unless_told_otherwise(monkeypatch, tmp_path):
    from benchmark.process import prepare_process

    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path))
    for chosen, expected in ((None, str(tmp_path / "compiled")), ("/elsewhere", "/elsewhere")):
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        if chosen:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", chosen)
        prepare_process()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == expected
