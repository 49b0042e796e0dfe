"""Files that are written whole or not at all: a killed process leaves the old one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text with its line ends as they are, folders included; returns the path. OSError where it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(path)
    return path


def write_csv(frame: "pd.DataFrame", path: Path) -> Path:
    """Write a table in full precision, empty where not measured; returns the path."""
    return write_text(path, frame.to_csv(index=False, lineterminator="\n"))
