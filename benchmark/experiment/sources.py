"""Hashes of the foreign code that a trial runs, so that an edited plug-in is another specification."""

import ast
import hashlib
import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm

from gradinv import attacks, benchmark, metrics
from gradinv.attacks.registry import ATTACKS
from gradinv.attacks.transforms import TRANSFORMS
from gradinv.benchmark.datasets import DATASETS
from gradinv.benchmark.defenses import DEFENSES, create_defense, defense_keys
from gradinv.metrics.images import METRICS, measured_metrics
from gradinv.metrics.keys import parse_key, split_keys
from gradinv.metrics.registry import InvalidEntryError


def sources_of(attack: str, defense: str, metrics: tuple[str, ...], dataset: str, model: str) -> dict[str, str]:
    """Hashes of the files of other packages and plug-ins that the trial runs; gradinv's and timm's go by version.

    A file counts with the files beside it that it imports.
    """
    # Under the entries' names and not the files', so that moving a plug-in to another folder changes no id.
    used: dict[str, Any] = {f"metric {name}": METRICS.get(name).target for name in measured_metrics(metrics)}
    # Part by part: an edited plug-in in a combination is found as well.
    used |= {f"defense {key}": DEFENSES.get(key.name).target for key in defense_keys(defense)}
    used[f"model {model}"] = timm.models.model_entrypoint(model.split(".")[0])
    transform = create_defense(defense).known()
    for part in split_keys(transform) if transform else ():
        used[f"transform {part}"] = TRANSFORMS.get(parse_key(part).name).target
    if attack:
        used[f"attack {attack}"] = ATTACKS.get(parse_key(attack).name).target
    if dataset in DATASETS.names():
        used[f"data set {dataset}"] = DATASETS.get(dataset).target
    hashes = {name: _foreign_source(target) for name, target in used.items()}
    return {name: digest for name, digest in hashes.items() if digest}


def _foreign_source(target: Any) -> str:
    """Hash of the file of a class, a function or an instance's class; empty where the file is ours or timm's."""
    file = getattr(sys.modules[target.__module__], "__file__", None)
    if file is None:  # a notebook's: the cell is kept for as long as the session
        return hashlib.sha256(_of_the_session(target).encode()).hexdigest()[:16]
    # The version stands for these packages, because their files change with every commit that changes no result.
    path = Path(file).resolve()
    versioned = [Path(package.__path__[0]).resolve() for package in (attacks, benchmark, metrics, timm)]
    if any(path.is_relative_to(folder) for folder in versioned):
        return ""
    digest = hashlib.sha256(path.read_bytes())
    for file in sorted(_imported_beside(path, {path})):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _of_the_session(target: Any) -> str:
    """The source of the cells that a function, a class or an instance's class was written in."""
    # By its functions: before Python 3.13 a class of a session does not know where it was written.
    holders = [target] if inspect.isfunction(target) else vars(target if inspect.isclass(target) else type(target))
    functions = filter(inspect.isfunction, holders.values() if isinstance(holders, Mapping) else holders)
    cells = sorted({function.__code__.co_filename for function in functions})
    text = "".join(line for cell in cells for line in linecache.getlines(cell))
    if not text:
        raise InvalidEntryError(f"{target!r} has no source that could stand in a record; put it into a file")
    return text


def _imported_beside(path: Path, known: set[Path]) -> Iterator[Path]:
    """The files beside a Python file that it imports, and those that these import; each once, `known` is filled."""
    # Read and not asked of sys.modules: what happens to be loaded must not change an id.
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            stem = path.parent / name.partition(".")[0]
            for file in (stem.with_suffix(".py"), stem / "__init__.py"):
                if file.is_file() and file not in known:
                    known.add(file)
                    yield file
                    yield from _imported_beside(file, known)
