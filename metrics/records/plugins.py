"""What a run remembers of its plug-ins: which files, and what is declared of their metrics.

So its records are read, drawn and compared by whoever does not have the files; nothing is ever loaded from here.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradinv.metrics.images import Facts, declare
from gradinv.metrics.records.files import read_file, write_text
from gradinv.metrics.records.layout import RunDirectory


class Plugins(BaseModel):
    """`files`: path of each plug-in -> SHA-256 of its file; `metrics`: what their metrics were registered with."""

    # Infinity is written as a word: JSON has none.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    files: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, Facts] = Field(default_factory=dict)


def remember(run: RunDirectory, files: Iterable[Path], metrics: Mapping[str, Facts]) -> None:
    """Keep the plug-ins of a run, beside those of earlier runs into the directory; writes nothing where there are none.

    A file takes the place of an earlier one of its path.
    """
    hashes = {str(path.resolve()): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    if hashes or metrics:
        earlier = _read(run)
        kept = Plugins(files=earlier.files | hashes, metrics={**earlier.metrics, **metrics})
        write_text(run.plugins, kept.model_dump_json(indent=1))


def recall(run: RunDirectory) -> None:
    """Declare the metrics that a run's plug-ins registered; what is registered here goes before.

    ValueError, in one line, where the file is broken.
    """
    for name, facts in _read(run).metrics.items():
        declare(name, facts)


def plugins_in_words(run: RunDirectory) -> list[str]:
    """One line for each plug-in file of a run: where it lay, and whether it is still there as it was.

    None where the file that says so is broken, which `reading.read_records` tells.
    """
    lines = []
    try:
        files = _read(run).files
    except ValueError:
        return []
    for name, digest in files.items():
        path = Path(name)
        if not path.is_file():
            state = "no longer there"
        else:
            state = "unchanged" if hashlib.sha256(path.read_bytes()).hexdigest() == digest else "changed since"
        lines.append(f"plug-in {name}: {state}")
    return lines


def _read(run: RunDirectory) -> Plugins:
    try:
        return Plugins.model_validate_json(read_file(run.plugins))
    except FileNotFoundError:  # before OSError: most runs have none
        return Plugins()
    except (OSError, ValidationError) as error:
        raise ValueError(
            f"{run.plugins}: cannot be read; delete it, and pass --plugin where a metric needs it"
        ) from error
