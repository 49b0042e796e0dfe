"""Label inference on many private batches: every rule on the client's gradient of the classifier's weight and bias.

Repetitions run in chunks. A finished chunk is kept in a file whose name holds the hash of everything that changes its
result, and is never run again; a killed run loses at most one chunk.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from gradinv.attacks.label_rules import RULES
from gradinv.benchmark.datasets import Dataset, Role
from gradinv.benchmark.experiment import result_versions, sources_of
from gradinv.benchmark.label_inference.bench import Bench, RuleResult
from gradinv.benchmark.label_inference.setting import LabelSetting
from gradinv.benchmark.victims import LoadedVictim, VictimSpec, load_victim
from gradinv.metrics.boards import LabelCell
from gradinv.metrics.keys import parse_key
from gradinv.metrics.records import read_file, write_text

CHUNK = 50
"""Repetitions in one file: about two seconds of a ResNet-18 at 32 px."""
PACKAGES = ("gradinv", "torch", "torchvision", "timm", "numpy", "pillow")


_DEFAULTS = (("defense", "none"), ("update", "gradient"))


class Chunk(BaseModel):
    """The results of some consecutive repetitions, as they are kept on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: list[RuleResult]
    auxiliary: str
    versions: dict[str, str]
    date: str


def infer_labels_of(
    spec: VictimSpec,
    dataset: Dataset,
    setting: LabelSetting,
    *,
    batches: int,
    out: Path,
    device: str = "cpu",
    download: bool = False,
    progress: bool = True,
) -> list[LabelCell]:
    """Every rule on repetitions 0 to `batches` - 1 at every batch size; one cell per rule and size.

    The client's network is in eval mode. On a CPU with one thread, as a trial. Chunks are kept in
    `out`/chunks. Raises LabelRequestError for a batch that the classes cannot fill and DataError where the images
    cannot, both before a victim is trained, ImpossibleCellError where the defense is impossible; otherwise as
    `load_victim` and `classifier_gradients`.
    """
    setting = setting.possible(dataset)
    loaded = load_victim(spec, dataset, download=download, progress=progress)
    identity = _identity(spec, dataset, loaded, setting, device)
    loaded.module.to(device)
    bench = Bench(dataset, loaded, setting)
    equal = "distinct" if setting.max_equal_labels == 1 else f"up to {setting.max_equal_labels} equal"
    title = f"labels ({equal}) of {spec.model} ({loaded.state}) on {dataset.name}"
    chunks = []
    # A bar in a log file is a line a step.
    shown = progress and sys.stderr.isatty()
    with _one_thread(), tqdm(total=batches, desc=title, unit="batch", disable=not shown) as bar:
        for repetitions in _chunked(batches):
            chunks.append(_chunk(out / "chunks", identity, bench, repetitions))
            bar.update(len(repetitions))
    return _cells(spec, bench, chunks, device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One CPU thread, as for a trial, because rounding depends on it; a victim may be trained with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chunked(batches: int) -> Iterator[range]:
    for start in range(0, batches, CHUNK):
        yield range(start, min(start + CHUNK, batches))


def _identity(spec: VictimSpec, dataset: Dataset, loaded: LoadedVictim, setting: LabelSetting, device: str) -> str:
    """16 hexadecimal digits that change with all that changes a result.

    The sizes are part of it, because the largest is the batch of the forward pass, on which rounding depends.
    """
    roles: tuple[Role, ...] = (
        ("evaluation", "tuning") if setting.auxiliary and dataset.has("tuning") else ("evaluation",)
    )
    shaping: dict[str, Any] = {
        "dataset": dataset.name,
        "image_size": dataset.image_size,
        "data": [dataset.split(role).content_hash for role in roles],
        "weights": loaded.weights_hash,
        "network": [spec.model, spec.stem],
        "normalisation": [loaded.mean, loaded.std],
        # Fields that came later are left out at their defaults, so that chunks from before them are found.
        "setting": {name: value for name, value in asdict(setting).items() if (name, value) not in _DEFAULTS},
        # A plug-in's rule may change without its name.
        "sources": [_source_hash(key) for key in setting.rules],
        **(
            {}
            if setting.defense == "none"
            else {"defense": sources_of("", setting.defense, (), dataset.name, spec.model)}
        ),
        "device": device,
        "versions": result_versions(),
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def _source_hash(key: str) -> str:
    file = Path(RULES.origin(parse_key(key).name).rpartition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _chunk(folder: Path, identity: str, bench: Bench, repetitions: range) -> Chunk:
    """The chunk on disk, or, where there is none that can be read, a new one, which is then on disk."""
    # With the end in its name: the last chunk of a shorter run is no full one and must not pass for it.
    path = folder / f"{identity}-{repetitions.start:06d}-{repetitions.stop:06d}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    results = bench.run(repetitions)
    versions = {package: version(package) for package in PACKAGES}
    auxiliary = "" if bench.auxiliary is None else bench.auxiliary.source
    date = datetime.now(UTC).date().isoformat()
    chunk = Chunk(results=results, auxiliary=auxiliary, versions=versions, date=date)
    write_text(path, chunk.model_dump_json())
    return chunk


def _read(path: Path) -> Chunk | None:
    """The chunk in the file; None where there is none that can be read: it is then computed, and replaced."""
    try:
        return Chunk.model_validate_json(read_file(path))
    except (OSError, ValueError):  # pydantic's ValidationError is a ValueError
        return None


def _cells(spec: VictimSpec, bench: Bench, chunks: list[Chunk], device: str) -> list[LabelCell]:
    # Chunks of one row may have been run on different days, with different versions: all are named, each once.
    versions = (", ".join(f"{name} {value}" for name, value in sorted(chunk.versions.items())) for chunk in chunks)
    distinct_versions = "; ".join(dict.fromkeys(versions))
    dataset, loaded, setting = bench.dataset, bench.loaded, bench.setting
    cells = []
    # Every chunk has the same rules and sizes in the same order, since they are part of its identity.
    for place in zip(*(chunk.results for chunk in chunks), strict=True):  # a rule at a size, chunk by chunk
        letter = RULES.constants(parse_key(place[0].rule).name).get("letter", "B")
        skipped = "; ".join(dict.fromkeys(result.skipped for result in place if result.skipped))
        cells.append(
            LabelCell(
                rule=place[0].rule,
                letter=letter,
                auxiliary=chunks[0].auxiliary if letter == "D" else "",
                dataset=dataset.name,
                image_size=dataset.image_size,
                victim=spec.key,
                victim_state=loaded.state,
                victim_seed=spec.seed,
                victim_accuracy=loaded.accuracy,
                zero_gradient_share=loaded.zero_gradient_share,
                batch_size=place[0].batch_size,
                max_equal_labels=setting.max_equal_labels,
                client_classes=setting.client_classes,
                update=setting.update,
                num_classes=len(dataset.classes),
                accuracies=() if skipped else tuple(share for result in place for share in result.shares),
                unanswered=sum(result.unanswered for result in place),
                notes="; ".join(dict.fromkeys(note for result in place for note in result.notes)),
                skipped=skipped,
                data_hash=dataset.split("evaluation").content_hash[:16],
                weights_hash=loaded.weights_hash,
                device=device,
                versions=distinct_versions,
                date=max(chunk.date for chunk in chunks),
            )
        )
    return cells
