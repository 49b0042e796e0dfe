"""Cells beside each other: what tells rows apart, who controls whom, in which order they stand."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradinv.metrics.records.record import Cell

BLIND_GRADIENTS = ("other_gradient", "noise_gradient")
"""Controls that are the attack itself, fed a gradient that says nothing of the images: their objectives are alike."""
Address = tuple[Any, ...]
"""What tells the rows of a board apart, hashable."""


def address_of(cell: Cell) -> Address:
    """Key, control or not, setting and specification; not the tuning, which image tables do not hold."""
    return cell.key, cell.is_control, *cell.setting, cell.specification


def cell_of_key(key: str, setting: Mapping[str, Any], *, is_control: bool) -> Cell:
    """The cell whose `key` this is; ValueError where no cell has it.

    `setting` holds every field but the attack's; a control's key is `NAME of KEY`, or `NAME` alone.
    """
    if is_control:
        attack, _, preset = key.partition(" of ")
        fields = {"attack": attack, "preset": preset}
    else:
        name, bracket, parameters = key.partition("[")
        attack, _, preset = name.partition(".")
        fields = {"attack": attack, "preset": preset, "parameters": bracket + parameters}
    cell = Cell.model_validate({**fields, **setting, "is_control": is_control})
    # Parts in the wrong place still make a cell, but one whose key is not the text that was read.
    if cell.key != key:
        raise ValueError(f"key is {key!r}, not one of gradinv")
    return cell


def belongs_to(control: Cell, attack: Cell) -> bool:
    """Whether the control is run for this attack: for it alone, or for every attack. Says nothing of the setting."""
    # A control's `preset` holds the key of the attack that it was run for; empty, it was run for all.
    return control.is_control and not attack.is_control and control.preset in ("", attack.key)


def controls_of(attack: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """The controls that an attack is compared with: run for it, in its setting, under its specification.

    None for a control.
    """
    return [cell for cell in candidates_of(attack, cells) if shares_specification(cell, attack)]


def candidates_of(attack: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """The controls that were run for an attack in its setting, whatever else they were run with."""
    setting = attack.setting
    return [cell for cell in cells if belongs_to(cell, attack) and cell.setting == setting]


def shares_specification(control: Cell, attack: Cell) -> bool:
    """Whether both were run on the same weights, data and sources, as far as that is known of both.

    A control of one attack shares its whole specification but for the control; one that attacks nothing has no engine
    and no attack's source to share.
    """
    if not (control.specification and attack.specification):
        return True
    return control.arm == attack.arm if control.preset else control.context == attack.context


def attacks_of(control: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """The attacks that a control is compared with, in its own setting; none for an attack."""
    return [cell for cell in cells if control in controls_of(cell, [control])]


def ordered(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one setting: each attack with its own controls beneath it, last the controls of every attack.

    Attacks keep their order, and so do the controls of each. A control whose attack is not among the cells stands with
    the last.
    """
    attacks = [cell for cell in cells if not cell.is_control]
    controls = [cell for cell in cells if cell.is_control]
    followed = [row for attack in attacks for row in (attack, *_controls_alone(attack, controls))]
    # Attacks that differ only in their tuning have one key, and so the same controls: each stands once.
    return list(dict.fromkeys([*followed, *controls]))


def _controls_alone(attack: Cell, controls: Iterable[Cell]) -> list[Cell]:
    """The controls of this attack and no other."""
    return [control for control in controls if control.preset and belongs_to(control, attack)]
