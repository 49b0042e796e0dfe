"""What was measured of a trial after it had ended: a file beside its record, which itself never changes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradinv.metrics.records.files import read_file, write_text
from gradinv.metrics.records.record import Record


class Additions(BaseModel):
    """Further metrics and details, one value a slot (None: not measured), notes and judges, all by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, list[float | None]] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    details: dict[str, list[float]] = Field(default_factory=dict)
    judges: dict[str, str] = Field(default_factory=dict)


def read_additions(path: Path) -> Additions:
    """What was added to a record (`RunDirectory.additions`); empty without a file, ValueError where it is broken."""
    try:
        return Additions.model_validate_json(read_file(path))
    # Before OSError, of which it is one: that nothing was added is the usual case and no fault.
    except FileNotFoundError:
        return Additions()
    except (OSError, ValidationError) as error:
        raise ValueError(f"{path}: cannot be read; delete it and measure again") from error


def add(path: Path, measured: Additions) -> None:
    """Write metrics and notes to the file, in place of older ones of the same names."""
    earlier = read_additions(path)
    # A name that has only a note now could not be measured again, so its earlier values go.
    failed = {name for name in measured.notes if name not in measured.metrics}
    kept = {name: values for name, values in earlier.metrics.items() if name not in failed}
    # What only has a note now could not be measured; what has values now needs no earlier reason.
    kept_notes = {name: text for name, text in earlier.notes.items() if name not in measured.metrics}
    additions = Additions(
        metrics=kept | measured.metrics,
        notes=kept_notes | measured.notes,
        details=earlier.details | measured.details,
        judges=earlier.judges | measured.judges,
    )
    write_text(path, additions.model_dump_json(indent=1))


def with_additions(record: Record, path: Path) -> Record:
    """The record with what was added to it.

    ValueError where the file is broken, of other images, or has a metric that the record has.
    """
    additions = read_additions(path)
    if not (additions.metrics or additions.notes):
        return record
    lengths = {len(values) for columns in (additions.metrics, additions.details) for values in columns.values()}
    if lengths - {len(record.images)}:
        raise ValueError(f"{path}: has not one value for each image; delete it and measure again")
    # What the trial itself measured is never replaced: two values of one metric, and nobody could tell which is meant.
    twice = sorted({name for image in record.images for name in image.metrics} & {*additions.metrics})
    if twice:
        raise ValueError(f"{path}: has {', '.join(twice)}, which the record has already; delete it and measure again")
    images = [
        image.model_copy(
            update={
                "metrics": image.metrics | _values(additions, slot),
                "details": {name: values[slot] for name, values in additions.details.items()} | image.details,
            }
        )
        for slot, image in enumerate(record.images)
    ]
    notes = [f"{name}: {text}" for name, text in sorted(additions.notes.items())]
    judges = additions.judges | record.judges
    return record.model_copy(update={"images": images, "notes": [*record.notes, *notes], "judges": judges})


def _values(additions: Additions, slot: int) -> dict[str, float]:
    values = {name: values[slot] for name, values in additions.metrics.items()}
    return {name: value for name, value in values.items() if value is not None}
