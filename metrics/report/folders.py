"""The folder of a report: written whole or not at all, and never over anything but a report."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from gradinv.metrics.registry import RequestError

MARK = '<meta name="generator" content="gradinv leaderboard --html">'
Test = Callable[[Path], bool]
ASSETS = ("style.css", "table.js")


class ReportError(RequestError):
    """A folder that a report must not be written into; its text is one line that says why."""


def is_report(folder: Path) -> bool:
    """Whether the folder's first page is one of ours."""
    index = folder / "index.html"
    return index.is_file() and MARK in index.read_text(encoding="utf-8", errors="replace")


@contextmanager
def replaced(directory: Path, parts: Collection[str], also: Test = lambda path: False) -> Iterator[Path]:
    """An empty folder with the assets, which takes the place of `directory` when the block ends well.

    An older report in that folder is replaced: nothing but its `parts`, and what `also` takes for one. Anything else
    in it is a ReportError.
    """
    _check(directory, parts, also)
    target = directory.resolve()  # `.` has no name, and a link must stay one
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since a rename is atomic within one file system only.
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.mkdir()
        copy_assets(partial)
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_assets(folder: Path) -> None:
    """Copied: a report must open from anywhere, long after this package has gone."""
    for name in ASSETS:
        (folder / name).write_bytes((files("gradinv.metrics.report") / "templates" / name).read_bytes())


def _check(directory: Path, parts: Collection[str], also: Test) -> None:
    """Only an empty folder or an older report, with nothing else in it, may be replaced."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ReportError(f"{directory} is no folder; give one for the report")
    entries = list(directory.iterdir())
    strange = [path for path in entries if path.name not in parts and not also(path)]
    # Our own mark is all that allows a folder to be deleted.
    if strange or (entries and not is_report(directory)):
        raise ReportError(f"{directory} holds other files than a report of gradinv; give another folder")
