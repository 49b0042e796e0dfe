"""Files that are written whole or not at all: a killed process leaves the old one; and what may be read or written."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gradinv.metrics.plain_text import no_formula
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

LONGEST_NAME = 160
"""Bytes of a file name that we make; most systems take 255, and endings and hashes are added to it."""
LARGEST_TEXT = 2**26
"""Bytes of a file of JSON or of checksums; a record of 512 images has less than a hundredth of it."""


class PathError(RequestError):
    """A place that nothing can be written to; its text is one line that says which option, which path and why."""


def require_folder(path: Path, option: str) -> None:
    """PathError where no folder of that path can be made or written to; `option` says where the path comes from."""
    _require(path, f"{option} {path}")


def require_file(path: Path, option: str) -> None:
    """PathError where no file of that path can be written."""
    _require(path.absolute().parent, f"{option} {path}")
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise PathError(f"{option} {path}: {error.strerror}; give another path") from error
    if is_folder:
        raise PathError(f"{option} {path}: is a folder; give the path of a file")


def _require(folder: Path, title: str) -> None:
    try:
        # The nearest that there is: the folders below it would be made.
        nearest = next(above for above in (folder, *folder.absolute().parents) if above.exists() or above.is_symlink())
        is_folder, is_writable = nearest.is_dir(), os.access(nearest, os.W_OK | os.X_OK)
    except OSError as error:  # a name that is too long
        raise PathError(f"{title}: {error.strerror}; give another path") from error
    if not is_folder:
        raise PathError(f"{title}: {nearest} is no folder; give another path")
    if not is_writable:
        raise PathError(f"{title}: {nearest} cannot be written to; give another path")


def short_name(name: str) -> str:
    """The name, where it is too long for a file's its beginning and a hash of it.

    >>> short_name("quick"), short_name("x" * 1000)[-20:]
    ('quick', 'xxx-44f8354494a5ba03')
    """
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) <= LONGEST_NAME:
        return name
    begin = encoded[: LONGEST_NAME - 17].decode(errors="ignore")
    return f"{begin}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def fault_in_words(error: OSError) -> str:
    """What the system refused, and of which file.

    >>> fault_in_words(OSError(28, "No space left on device", "a.csv"))
    'a.csv: No space left on device'
    """
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def read_file(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file of at most so many bytes; OSError for anything else.

    A pipe would be waited for and never end, and a record of a gigabyte is none.
    """
    status = path.stat()  # asked once: ten thousand records on a network file system wait for every question
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    if status.st_size > largest:
        raise OSError(errno.EFBIG, f"has more than {largest} bytes", str(path))
    return path.read_bytes()


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path` and put it in place in one rename; returns the path.

    Missing folders are made. Whatever `write` raises passes through, and then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique, since processes on several machines may write the same file at once; hidden, so that no listing takes it
    # for a result; in the same folder, since a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name[:32]}.{uuid4().hex}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text with its line ends as they are; returns the path. OSError where it cannot."""
    return write_whole(path, lambda file: file.write_text(text, encoding="utf-8", newline=""))


def write_csv(frame: "pd.DataFrame", path: Path) -> Path:
    """Write a table in full precision, empty where not measured, no text as a formula; returns the path.

    `plain_text.from_cell` gives a cell's text back.
    """
    # Whoever opens a stranger's table in a spreadsheet must not run what a note in it begins with.
    safe = frame.copy()
    for name in (name for name, column in frame.items() if column.dtype.kind == "O"):
        safe[name] = [no_formula(value) if isinstance(value, str) else value for value in safe[name]]
    # One line end on every system, so that equal tables are equal files.
    return write_text(path, safe.to_csv(index=False, lineterminator="\n"))


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: dict[str, str] | None = None) -> Path:
    """Write tensors, and words about them, to one safetensors file; returns the path."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # boards are written without torch

    # safetensors refuses tensors that share memory and those that are no dense block, as views of a batch may be.
    dense = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}

    def save(file: Path) -> None:
        try:
            save_file(dense, file, metadata)
        except SafetensorError as error:  # its own exception, which says what the system said only in words
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error

    return write_whole(path, save)
