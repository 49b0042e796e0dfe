"""A process that runs trials keeps the memory that it frees, and knows where compiled programs are cached."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from gradinv.benchmark.machine import prepare_process

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_kept():
    """The default allocator maps 40,000 pages anew, but on some machines none: so there is no such control."""
    assert faults("from gradinv.benchmark.machine import prepare_process; prepare_process()") < 1_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_the_allocator_takes_every_setting(monkeypatch):
    libc, answers = ctypes.CDLL(None), []

    class Watched:
        gnu_get_libc_version = libc.gnu_get_libc_version

        def mallopt(self, name, value):
            answers.append((name, libc.mallopt(name, value)))

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Watched())
    prepare_process()
    assert sorted(answers) == [(-3, 1), (-2, 1), (-1, 1)]  # 1 means that it was taken


def test_compiled_programs_are_cached_beside_victims_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path))
    for chosen, expected in ((None, str(tmp_path / "compiled")), ("/elsewhere", "/elsewhere")):
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        if chosen:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", chosen)
        prepare_process()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == expected
