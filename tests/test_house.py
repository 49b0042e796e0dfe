"""The house: imports go downstairs only, a room is entered by its door, and no room is too large."""

import ast
from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
FLOORS = ("metrics", "attacks", "benchmark", "facade")
"""From the ground up: a floor imports itself and those before it."""
FILES = [path for floor in FLOORS for path in sorted((CHECKOUT / floor).rglob("*.py"))]
MOST_FILES = 20


def room_of(path: Path) -> str:
    """The room of a file as its import name, or the floor itself."""
    return ".".join(("gradinv", *path.relative_to(CHECKOUT).parts[:-1]))


ROOMS = {room_of(path) for path in FILES if path.parent.parent != CHECKOUT}


def imported(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) of every import of gradinv's in a file, those for type checkers and in functions included."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    found = [(node.module or "", tuple(alias.name for alias in node.names)) for node in nodes]
    return [(module, names) for module, names in found if module.split(".")[0] == "gradinv"]


def test_there_are_files_to_look_at():
    assert len(FILES) > 100
    assert len(ROOMS) > 10


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_downstairs(floor):
    upstairs = FLOORS[FLOORS.index(floor) + 1 :]
    wrong = [
        f"{path}: {module}"
        for path in (CHECKOUT / floor).rglob("*.py")
        for module, _ in imported(path)
        if module.startswith(tuple(f"gradinv.{higher}" for higher in upstairs))
    ]
    assert wrong == []


def test_a_room_is_entered_by_its_door():
    """Nobody outside imports a room's file: what others use stands in the room's `__init__`."""
    wrong = [
        f"{path.relative_to(CHECKOUT)}: {module}"
        for path in FILES
        for module, _ in imported(path)
        if module.rpartition(".")[0] in ROOMS and module.rpartition(".")[0] != room_of(path)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_is_small_and_says_what_it_is_for(room):
    folder = CHECKOUT.joinpath(*room.split(".")[1:])
    assert len(list(folder.glob("*.py"))) < MOST_FILES
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", [path for path in CHECKOUT.glob("tests/**/") if "__pycache__" not in path.parts])
def test_folders_of_tests_are_small(folder):
    assert len(list(folder.glob("*.py"))) < MOST_FILES


def test_every_door_opens():
    """Each name that a room's `__init__` offers can be had, and is offered once."""
    for room in sorted(ROOMS):
        module = __import__(room, fromlist=["*"])
        names = list(getattr(module, "__all__", []))
        assert [name for name, count in Counter(names).items() if count > 1] == []
        assert all(getattr(module, name) is not None for name in names)
