"""Files that are written whole or not at all: a killed process leaves the old one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path` and put it in place in one rename; returns the path.

    Missing folders are made. Whatever `write` raises passes through, and then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique, since processes on several machines may write the same file at once; hidden, so that no listing takes it
    # for a result; in the same folder, since a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
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
    """Write a table in full precision, empty where not measured; returns the path."""
    # One line end on every system, so that equal tables are equal files.
    return write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: dict[str, str] | None = None) -> Path:
    """Write tensors, and words about them, to one safetensors file; returns the path."""
    from safetensors.torch import save_file  # boards are written without torch

    # safetensors refuses tensors that share memory and those that are no dense block, as views of a batch may be.
    dense = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    return write_whole(path, lambda file: save_file(dense, file, metadata))
