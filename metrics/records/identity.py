"""Identities: hashes of a trial's specification, and of what it shares with the trials that stand beside it.

Visible columns cannot tell two versions of a plug-in apart, nor two weight files of one name: the hashes do.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Specification = Mapping[str, Any]
"""A trial's specification as records hold it, plain values by name."""

_SAID_BESIDE = ("suite_hash",)
"""What a record keeps beside its specification and is no part of it."""
_OF_THE_ATTACK = ("attack", "hyperparameters", "engine", "together", "precision")
"""What a control that attacks nothing has of its own."""
_OF_THE_MEAN_IMAGE = ("data_hash",)
"""The mean image is made of training images, so that its trials hash more data than the others."""


@dataclass(frozen=True)
class RowIdentity:
    """What the trials of a row share, each in 16 hexadecimal digits.

    `specification` is everything but the private batch: trials that differ in it are rows of their own. `arm` is the
    same without the control: an attack has it in common with its own controls. `context` is the same without the
    attack: an attack has it in common with the controls that attack nothing.
    """

    specification: str
    arm: str
    context: str


def trial_id(specification: Specification) -> str:
    """16 hexadecimal digits of the SHA-256 of a specification: the same for the same values, in whatever order.

    >>> trial_id({"a": 1, "b": 2}) == trial_id({"b": 2, "a": 1, "suite_hash": "x"})
    True
    """
    return _hash(_without(specification, _SAID_BESIDE))


def row_identity(specification: Specification) -> RowIdentity:
    """The identity of the row that a trial belongs to.

    >>> attack = {"attack": "dlg", "control": "", "repetition": 0, "weights_hash": "w", "sources": {"attack dlg": "s"}}
    >>> control = {**attack, "attack": "", "control": "mean_image", "repetition": 3, "sources": {}}
    >>> row_identity(attack).context == row_identity(control).context
    True
    """
    row = _without(specification, (*_SAID_BESIDE, "repetition"))
    arm = _without(row, ("control",))
    context = _without(arm, (*_OF_THE_ATTACK, *_OF_THE_MEAN_IMAGE))
    # A control that attacks nothing runs none of the attack's source.
    sources = {name: digest for name, digest in context.get("sources", {}).items() if not name.startswith("attack ")}
    return RowIdentity(_hash(row), _hash(arm), _hash({**context, "sources": sources}))


def differing_fields(specification: Specification, reference: Specification) -> list[str]:
    """Names of what two specifications differ in, but for the private batch, sorted.

    >>> differing_fields({"budget": 5, "repetition": 0}, {"budget": 6, "repetition": 1})
    ['budget']
    """
    row, against = (_without(fields, (*_SAID_BESIDE, "repetition")) for fields in (specification, reference))
    return sorted(name for name in {*row, *against} if row.get(name) != against.get(name))


def _without(fields: Specification, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _hash(fields: Specification) -> str:
    # 64 bits: far more than trials are ever run, and short enough for a folder's name.
    # Sorted, so that the order in which somebody wrote hyperparameters down does not matter.
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
