"""Records of older schemas, as the present one says the same."""

from dataclasses import asdict
from typing import Any

from gradinv.metrics.records.identity import row_identity

SCHEMA = 3
"""Version of a record's fields. It rises when one is renamed, moved or dropped; `upgraded` learns the older form."""

_BUDGET_LEFT = "budget left: "  # how a note began, in schema 1, that said why the budget was not spent
_DROPPED = ("scored", "consensus_psnr")  # no reader ever used them; the consensus stands in the images' details


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record in the present schema; the argument is not changed.

    Schema 1 -> 2: `label_accuracy` is one of the `metrics` of a batch; the note that began with `budget left:` is
    `stopped`; `registrations` are `alignments`; `scored` and `consensus_psnr` are gone. Schema 2 -> 3: the cell has the
    hashes of its specification. What is of the present schema, or of one that is not known, comes back as it is, and so
    does every field that an older schema did not have.

    >>> upgraded({"schema_version": 1, "label_accuracy": 0.5, "notes": ["budget left: stopped early"]})
    {'schema_version': 3, 'notes': [], 'metrics': {'label_accuracy': 0.5}, 'stopped': 'stopped early'}
    """
    if content.get("schema_version") == 1:
        content = _from_schema_1(content)
    return _from_schema_2(content) if content.get("schema_version") == 2 else content


def _from_schema_2(content: dict[str, Any]) -> dict[str, Any]:
    fields = content | {"schema_version": 3}
    cell, specification = content.get("cell"), content.get("spec")
    # Without a specification there is nothing to hash: such a record's cell keeps what its visible columns say.
    if isinstance(cell, dict) and isinstance(specification, dict) and specification:
        fields["cell"] = cell | asdict(row_identity(specification))
    return fields


def _from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    newer = [name for name in ("metrics", "stopped", "alignments") if name in content]
    if newer:
        raise ValueError(f"schema 1 has no field {newer[0]!r}")
    fields = {name: value for name, value in content.items() if name not in _DROPPED} | {"schema_version": 2}
    accuracy = fields.pop("label_accuracy", None)
    if accuracy is not None:
        fields["metrics"] = {"label_accuracy": accuracy}
    if "registrations" in fields:
        fields["alignments"] = fields.pop("registrations")
    notes = fields.get("notes")
    if isinstance(notes, list):  # whatever else a broken file holds is for the validation to refuse
        reasons = [note for note in notes if str(note).startswith(_BUDGET_LEFT)]
        fields["notes"] = [note for note in notes if note not in reasons]
        fields["stopped"] = reasons[0].removeprefix(_BUDGET_LEFT) if reasons else ""
    return fields
