"""A factory of synthetic records and run directories, for every test of tables and pictures."""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.record import Cell, ImageScore, Record
from gradinv.metrics.records.validation import checksums

SETTING = {
    "dataset": "photos",
    "image_size": 16,
    "victim": "lenet_dlg",
    "victim_state": "untrained",
    "victim_seed": 0,
    "bn_mode": "eval",
    "bn_statistics": "none",
    "granted_numbers_per_pixel": 0.0,
    "labels": "known",
    "update": "gradient",
    "defense": "none",
    "adaptive": False,
    "batch_size": 2,
    "max_equal_labels": 1,
    "precision": "float32",
}
NOT_LOOKED_AT = ("structure: not measured", "identity_lowpass: no pool")
CELL_FIELDS = set(Cell.model_fields)


def make_record(attack: str, repetition: int, psnr: Iterable[float] = (), **changes: Any) -> Record:
    """A record of `attack` whose images have these PSNR; `changes` go to the cell or to the record, by their name."""
    cell = Cell(attack=attack, **(SETTING | {name: value for name, value in changes.items() if name in CELL_FIELDS}))
    own = {name: value for name, value in changes.items() if name not in CELL_FIELDS}
    images = [
        ImageScore(slot=slot, reconstruction=slot, image=f"i{repetition}{slot}", label=slot,
                   metrics={"psnr": value, "ssim": min(value, 50.0) / 50, "gmsd": 0.1, "fft2d": 0.2})
        for slot, value in enumerate(psnr)
    ]  # fmt: skip
    defaults: dict[str, Any] = {
        "id": f"{cell.key}-{repetition}-{zlib.crc32(repr(cell).encode())}",
        "suite": "quick",
        "order": own.pop("order", repetition),
        "repetition": repetition,
        "cell": cell,
        "spec": {},
        "state": "done",
        "images": images,
        "metrics": {"label_accuracy": 1.0},
        "slot_accuracy": 1.0,
        "objective_start": 2.0,
        "objective_end": 0.5,
        "evaluations": 100,
        "curve": [(0, 2.0), (50, 1.0), (100, 0.5)],
        "final_psnr": 9.0,
        "seconds": 1.5,
        "versions": {"torch": "2.9.0", "numpy": "2.4.6"},
        "date": "2025-11-22T10:00:00",
        "notes": ["lpips_alex: no weights", "lpips_vgg: no weights", *NOT_LOOKED_AT],
    }
    return Record(**(defaults | own))


def write_run(directory: Path, records: Iterable[Record]) -> Path:
    """A run directory as `gradinv run` leaves it; scored trials get random pictures."""
    rng = np.random.default_rng(0)
    for record in records:
        folder = directory / "trials" / record.id
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(record.model_dump_json(), encoding="utf-8")
        if record.is_scored:
            size = record.cell.image_size
            shape = (len(record.images), 3, size, size)
            names = ("original", "reconstruction", "final")
            tensors = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name in names}
            save_file(tensors, folder / "tensors.safetensors")
        seal(directory, record.id)
    return directory


def seal(directory: Path, trial: str) -> None:
    """Put the checksums of a trial's files beside them, as the store does."""
    run = RunDirectory(directory)
    run.checksums(trial).write_text(checksums(run, trial), encoding="utf-8")


@pytest.fixture(name="make_record")
def make_record_fixture() -> Callable[..., Record]:
    """`make_record(attack, repetition, psnr, **changes)`."""
    return make_record


@pytest.fixture(name="write_run")
def write_run_fixture() -> Callable[..., Path]:
    """`write_run(directory, records)`."""
    return write_run


@pytest.fixture
def records() -> list[Record]:
    """Two attacks with their controls over three batches of two images, one of them skipped, one diverged."""
    dlg = [make_record("dlg", r, (20.0 + r, 24.0), order=r) for r in range(3)]
    other = [
        make_record("other_gradient", r, (10.0, 9.0 + r), preset="dlg", is_control=True, order=10 + r) for r in range(3)
    ]
    grey = [make_record("mean_image", r, (12.0, 12.0), is_control=True, order=20 + r, curve=[]) for r in range(3)]
    idlg = [
        make_record("idlg", r, (11.0 + r, 12.5), order=30 + r, state="diverged" if r == 1 else "done") for r in range(3)
    ]
    reason = "idlg.bn needs batch-norm statistics, none are granted"
    skipped = [
        make_record("idlg", r, preset="bn", order=40 + r, state="skipped", reason=reason, notes=[]) for r in range(3)
    ]
    return dlg + other + grey + idlg + skipped
