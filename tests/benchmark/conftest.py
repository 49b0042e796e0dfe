"""Fixtures for the experiment's tests: tiny data sets and suites, plug-ins, the command run inside this process."""

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from gradinv.attacks.registry import ATTACKS, PRESETS
from gradinv.benchmark import cli
from gradinv.benchmark.datasets.base import ArraySplit, Dataset, held_out_loaders
from gradinv.benchmark.runs.plan import Plan, Planner
from gradinv.benchmark.runs.prepare import prepare_plan
from gradinv.benchmark.runs.suite import load_suite
from gradinv.metrics.images.scoring import METRICS
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records
from gradinv.metrics.records.record import Record

SUITE = {
    "name": "tiny",
    "victims": [{"model": "lenet_dlg", "state": "untrained"}],
    "attacks": ["dlg"],
    "controls": "none",
    "batches": 1,
    "budget": 5,
    "metrics": ["psnr"],
}

PLUGIN = '''
"""A plug-in attack in a few lines."""
import os
import time
from pathlib import Path
import torch
from gradinv.attacks.dlg import DLG, ZHU_2019
from gradinv.attacks.registry import register_attack

@register_attack("NAME", paper=ZHU_2019)
class Plugged(DLG):
    """DLG from other seeds, with accidents on request."""

    packs_trials = False

    def __init__(self, *, accident: str = "none", step: float = 1.0) -> None:
        super().__init__(lr=step)
        self.accident = accident

    def reconstruct(self, leak, victim, *, seed, budget=None):
        if self.accident == "raise":
            raise RuntimeError("no luck today")
        if self.accident == "oom":
            raise torch.OutOfMemoryError("out of memory")
        if self.accident == "leave":
            raise SystemExit(3)
        if self.accident == "die":
            os._exit(1)
        if self.accident == "interrupt":
            raise KeyboardInterrupt
        if self.accident == "generator":
            raise GeneratorExit
        if self.accident == "memory":
            raise MemoryError
        if self.accident == "allocate":
            torch.empty(2**55)
        if self.accident == "escape":
            raise RuntimeError("\x1b[31mred\x1b[0m and\\nlong")
        if self.accident == "endless":
            print("ENDLESS", flush=True)
            while True:
                pass
        if self.accident == "patient":
            Path(__file__).with_name("waiting").touch()
            while not Path(__file__).with_name("enough").exists():
                time.sleep(0.01)
        while self.accident == "deaf":
            try:
                while True:
                    pass
            except BaseException:
                pass
        return super().reconstruct(leak, victim, seed=seed + 100, budget=budget)
'''


@dataclass(frozen=True)
class Result:
    """How the command ended and what it said."""

    status: int
    out: str
    err: str


def make_plugin(path: Path, name: str) -> Path:
    """Write a plug-in file that registers the attack `name`."""
    path.write_text(PLUGIN.replace("NAME", name), encoding="utf-8")
    return path


def make_suite(path: Path, **settings: Any) -> Path:
    """Write a suite: `SUITE` with other settings; None removes one."""
    chosen = {name: value for name, value in (SUITE | settings).items() if value is not None}
    path.write_text(yaml.safe_dump(chosen), encoding="utf-8")
    return path


def records_by_label(directory: Path) -> dict[tuple[str, int], Record]:
    """(key, batch) -> record of a run directory."""
    return {(record.cell.key, record.repetition): record for record in read_records([directory])[0]}


def files_of(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Path below the directory -> (content, time of the last change) of every file of a finished trial."""
    files = [path for path in RunDirectory(directory).trials.glob("[!.]*/*") if path.is_file()]
    return {str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The helper functions of this file, for fixtures of any scope."""
    return SimpleNamespace(
        make_plugin=make_plugin, make_suite=make_suite, records_by_label=records_by_label, files_of=files_of
    )


@pytest.fixture(autouse=True)
def forget_plugins() -> Iterator[None]:
    """What plug-ins registered is gone after the test."""
    yield
    for registry in (ATTACKS, METRICS):
        for name, entry in list(registry._entries.items()):
            if getattr(entry.target, "__module__", "").startswith("gradinv_plugin_"):
                del registry._entries[name]
    for name, preset in list(PRESETS._entries.items()):
        if "tuned" in preset.metadata or name.partition(".")[0] not in ATTACKS:
            del PRESETS._entries[name]


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """What the command does about signals is undone after the test."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., Path]:
    """Writes a suite file."""
    return lambda file="suite.yaml", **settings: make_suite(tmp_path / file, **settings)


@pytest.fixture
def make_plan(write_suite: Callable[..., Path]) -> Callable[..., Plan]:
    """Plans a suite with these settings; no victim is loaded or trained."""

    def make(**settings: Any) -> Plan:
        return Planner(device="cpu", download=False).plan(load_suite(write_suite(**settings)), "hash")

    return make


@pytest.fixture
def run_directory(tmp_path: Path) -> RunDirectory:
    """Where plans are prepared and trials executed without the command."""
    return RunDirectory(tmp_path)


@pytest.fixture
def make_ready_plan(make_plan: Callable[..., Plan], run_directory: RunDirectory) -> Callable[..., Plan]:
    """Plans a suite with these settings and puts its victims into the run directory."""
    return lambda **settings: prepare_plan(make_plan(**settings), run_directory, progress=False)


@pytest.fixture
def gradinv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs the command in this process, one trial at a time unless told otherwise, without figures."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["gradinv", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        streams = capsys.readouterr()
        return Result(int(ended.value.code or 0), streams.out, streams.err)

    return run


@pytest.fixture
def run_suite(gradinv: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """`gradinv run SUITE --out tmp_path/run`, one job, no figures."""

    def run(suite: object, *arguments: object, out: Path = tmp_path / "run") -> Result:
        return gradinv("run", suite, "--out", out, "--jobs", 1, "--no-figures", "--device", "cpu", *arguments)

    return run


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch) -> None:
    """No test reads or writes the user's data or cache."""
    monkeypatch.setenv("GRADINV_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """Makes a data set in memory: each class is noise about its own colour, (size, size)."""

    def make(*, classes: int = 4, train: int = 32, held_out: int = 6, size: int = 16, name: str = "tiny") -> Dataset:
        def split(count: int, seed: int) -> ArraySplit:
            random = np.random.RandomState(seed)
            labels = np.repeat(np.arange(classes), count)
            colours = np.random.RandomState(0).randint(40, 216, (classes, 1, 1, 3))
            noise = random.randint(-40, 40, (len(labels), size, size, 3))
            return ArraySplit((colours[labels] + noise).astype(np.uint8), labels)

        loaders = held_out_loaders(lambda: split(held_out, 2))
        if train:
            loaders["train"] = lambda: split(train, 1)
        return Dataset(name, [f"class{index}" for index in range(classes)], size, loaders)

    return make
