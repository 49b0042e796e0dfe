"""Which attacks a paper's figures and tables show, and in which order."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from gradinv.metrics.records.cells import belongs_to
from gradinv.metrics.records.reading import position
from gradinv.metrics.records.record import Record
from gradinv.metrics.registry import RequestError, unknown


def selected(records: Sequence[Record], attacks: Sequence[str]) -> list[Record]:
    """The trials of these attacks, by key or wildcard, in this order, and of their controls; all where none is named.

    RequestError for what fits no attack of the records.
    """
    if not attacks:
        return list(records)
    ordered = sorted(records, key=position)
    cells = list(dict.fromkeys(record.cell for record in ordered if not record.cell.is_control))
    keys = list(dict.fromkeys(cell.key for cell in cells))
    chosen: list[str] = []
    for pattern in attacks:
        # Brackets stand for themselves, since keys have them.
        fitting = [key for key in keys if fnmatchcase(key, pattern.replace("[", "[[]"))]
        if not fitting:
            raise RequestError(f"--attack: {unknown('attack of these records', pattern, keys)}")
        chosen += [key for key in fitting if key not in chosen]
    place = {key: number for number, key in enumerate(chosen)}
    attacks_of = {key: next(cell for cell in cells if cell.key == key) for key in chosen}

    def rank(record: Record) -> int | None:
        """The place of a record's attack; of a control that of its first attack."""
        if not record.cell.is_control:
            return place.get(record.cell.key)
        return min((place[key] for key, cell in attacks_of.items() if belongs_to(record.cell, cell)), default=None)

    ranked = [(rank(record), record) for record in ordered]
    shown = sorted(((number, record) for number, record in ranked if number is not None), key=lambda pair: pair[0])
    # One suite for all: records of several would else be put in the order of their names.
    suite = ", ".join(dict.fromkeys(record.suite for _, record in shown))
    return [record.model_copy(update={"order": order, "suite": suite}) for order, (_, record) in enumerate(shown)]
