"""What was measured of a trial after it had ended: a file beside its record, which itself never changes."""

from pathlib import Path

from gradinv.metrics.records.files import write_text
from gradinv.metrics.records.record import Record
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE = "additions.json"


class Additions(BaseModel):
    """Further metrics, one value a slot (None: not measured), and notes; both by the name of the metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, list[float | None]] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)


def read_additions(folder: Path) -> Additions:
    """What was added to the record in a trial's folder; empty where nothing was, ValueError where it is broken."""
    path = folder / FILE
    try:
        return Additions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Additions()
    except (OSError, ValidationError) as error:
        raise ValueError(f"{path}: cannot be read; delete it and measure again") from error


def add(folder: Path, found: Additions) -> None:
    """Put metrics and notes beside the record, in place of older ones of the same names."""
    known = read_additions(folder)
    metrics = {name: values for name, values in known.metrics.items() if name not in found.notes} | found.metrics
    whole = Additions(metrics=metrics, notes=known.notes | found.notes)
    write_text(folder / FILE, whole.model_dump_json(indent=1))


def with_additions(record: Record, folder: Path) -> Record:
    """The record with what was added to it; ValueError where the file is broken or of other images."""
    found = read_additions(folder)
    if not (found.metrics or found.notes):
        return record
    if any(len(values) != len(record.images) for values in found.metrics.values()):
        raise ValueError(f"{folder / FILE}: has not one value for each image; delete it and measure again")
    images = [
        image.model_copy(update={"metrics": image.metrics | _of(found, slot)})
        for slot, image in enumerate(record.images)
    ]
    notes = [f"{name}: {text}" for name, text in sorted(found.notes.items())]
    return record.model_copy(update={"images": images, "notes": [*record.notes, *notes]})


def _of(found: Additions, slot: int) -> dict[str, float]:
    values = {name: values[slot] for name, values in found.metrics.items()}
    return {name: value for name, value in values.items() if value is not None}
