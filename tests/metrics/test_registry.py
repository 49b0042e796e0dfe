"""Names without imports, entries on demand, and errors that say how to mend them."""

import signal
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import gradinv.metrics.registry
from gradinv.metrics.registry import (
    COMPUTED,
    InvalidEntryError,
    Registry,
    RequestError,
    UnknownNameError,
    declared,
    load_plugin,
    natural_key,
    origin,
    unknown,
)

PACKAGE = "zoo_of_the_tests"
HEAD = "from tests_registry import register_animal\n"


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry whose package has one file that declares two animals, and that nobody has imported."""
    registry: Registry = Registry("animal", package=PACKAGE, decorator="register_animal", group="zoo.animals")
    module = type(sys)("tests_registry")
    module.register_animal = registry.register
    monkeypatch.setitem(sys.modules, "tests_registry", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "cats.py").write_text(
        HEAD + "@register_animal('lion', legs=4)\nclass Lion: ...\n\n@register_animal('cat9')\nclass Cat: ...\n"
    )
    yield registry
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "my_animals.py"
    for name in [name for name in sys.modules if name.startswith("gradinv_plugin_my_animals")]:
        del sys.modules[name]


def test_names_are_read_without_importing(zoo: Registry) -> None:
    assert zoo.names() == ["cat9", "lion"]
    assert f"{PACKAGE}.cats" not in sys.modules


def test_an_entry_is_imported_when_asked_for(zoo: Registry) -> None:
    entry = zoo.get("lion")
    assert entry.target is sys.modules[f"{PACKAGE}.cats"].Lion
    assert (entry.name, entry.metadata) == ("lion", {"legs": 4})


def test_origin_is_file_and_line(zoo: Registry, tmp_path: Path) -> None:
    assert zoo.origin("lion") == f"{tmp_path / PACKAGE / 'cats.py'}:2"
    assert origin({"alpha": 1}) == "{'alpha': 1}"


def test_names_follow_a_wildcard_in_natural_order(zoo: Registry) -> None:
    for name in ("cat10", "cat101", "cat18"):
        zoo.register(name)(Path)
    assert zoo.names("cat*") == ["cat9", "cat10", "cat18", "cat101"]


def test_natural_order_takes_any_text() -> None:
    assert sorted(["x²", "10", "a", "9", ""], key=natural_key) == ["", "9", "10", "a", "x²"]


def test_a_new_file_is_all_a_new_name_needs(zoo: Registry, tmp_path: Path) -> None:
    (tmp_path / PACKAGE / "dogs.py").write_text(HEAD + "@register_animal('dog')\ndef dog(): ...\n")
    assert zoo.names() == ["cat9", "dog", "lion"]
    assert zoo.get("dog").target.__name__ == "dog"


def test_only_calls_with_a_written_name_are_declarations(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(
        "@register('a')\nclass A: ...\n@m.register('b', x=1)\nclass B: ...\nregister(name)\nregister()\nother('c')\n"
        "# register('d')\n"
    )
    assert declared(file, "register") == {"a": {}, "b": {"x": 1}}


def test_two_things_of_one_name_are_an_error_that_names_both(zoo: Registry) -> None:
    zoo.register("tiger")(Path)
    zoo.register("tiger")(Path)
    with pytest.raises(InvalidEntryError, match=r"animal 'tiger' is registered twice: in .*py:\d+ and in .*py:\d+"):
        zoo.register("tiger")(Registry)


def test_a_plugin_cannot_shadow_a_built_in_entry(zoo: Registry, plugin: Path) -> None:
    plugin.write_text(HEAD + "@register_animal('lion')\nclass Other: ...\n")
    load_plugin(plugin)
    with pytest.raises(InvalidEntryError, match=r"'lion' is registered twice: in .*my_animals.py:2 and in .*cats.py:2"):
        zoo.get("lion")


def test_an_unknown_name_comes_with_the_nearest(zoo: Registry) -> None:
    with pytest.raises(UnknownNameError) as caught:
        zoo.get("lino")
    assert str(caught.value) == "unknown animal 'lino'; did you mean lion?"


def test_where_no_name_is_near_all_are_listed() -> None:
    assert unknown("animal", "zzz", ["cat", "lion"]) == "unknown animal 'zzz'; valid: cat, lion"
    assert unknown("animal", "zzz", []) == "unknown animal 'zzz'; valid: none"


def test_a_package_that_is_not_installed_is_named() -> None:
    registry: Registry = Registry("animal", package="no_such_package_here", decorator="r", group="g")
    with pytest.raises(InvalidEntryError, match="package 'no_such_package_here', which holds the animals"):
        registry.names()


def test_other_packages_add_names_through_entry_points(
    zoo: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{PACKAGE}_birds.py").write_text(HEAD + "@register_animal('owl')\nclass Owl: ...\n")
    point = EntryPoint("owl", f"{PACKAGE}_birds:Owl", "zoo.animals")
    monkeypatch.setattr(
        gradinv.metrics.registry, "entry_points", lambda group: [point] if group == "zoo.animals" else []
    )
    assert zoo.names() == ["cat9", "lion", "owl"]
    assert f"{PACKAGE}_birds" not in sys.modules
    assert "owl" in zoo
    assert "emu" not in zoo
    assert zoo.get("owl").target is sys.modules[f"{PACKAGE}_birds"].Owl


def test_another_package_that_cannot_be_imported_is_named(zoo: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("owl", "no_such_birds:Owl", "zoo.animals")
    monkeypatch.setattr(gradinv.metrics.registry, "entry_points", lambda group: [point])
    with pytest.raises(InvalidEntryError, match="animal 'owl' of no_such_birds:Owl cannot be imported: No module"):
        zoo.get("owl")


def test_a_plugin_file_adds_what_it_registers(zoo: Registry, plugin: Path) -> None:
    plugin.write_text(HEAD + "@register_animal('ant')\nclass Ant: ...\n")
    load_plugin(plugin)
    load_plugin(plugin)
    assert "ant" in zoo.names()
    assert zoo.origin("ant") == f"{plugin}:2"


@pytest.mark.parametrize("name", ["missing.py", "notes.txt", ""])
def test_a_plugin_that_is_no_python_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidEntryError, match="no such Python file"):
        load_plugin(tmp_path / name)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def broken(:\n", "invalid syntax"),
        ("import no_such_module_here\n", "No module named 'no_such_module_here'"),
        ("undefined\n", "name 'undefined' is not defined"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("raise GeneratorExit\n", "GeneratorExit"),
        ("1 / 0\n", "division by zero"),
        ("{}['key']\n", "KeyError: 'key'"),
        ("assert False\n", "AssertionError"),
        ("raise RuntimeError('two\\nlines')\n", "two lines"),
        ("open('/no/such/file')\n", "No such file"),
        ("def f(): f()\nf()\n", "recursion"),
        ("raise MemoryError\n", "MemoryError"),
        ("x = '\\udce9'.encode()\n", "surrogates"),
        ("\0", "null bytes"),
    ],
)
def test_a_plugin_that_cannot_be_imported_says_why(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)  # as where the command watches for Ctrl-C
    plugin.write_text(code)
    with pytest.raises(InvalidEntryError, match=f"my_animals.py cannot be imported: .*{reason}") as caught:
        load_plugin(plugin)
    assert "\n" not in str(caught.value)
    assert not any(name.startswith("gradinv_plugin_my_animals") for name in sys.modules)


def test_ctrl_c_while_a_plugin_is_imported_is_no_fault_of_the_plugin(plugin: Path) -> None:
    plugin.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_plugin(plugin)


def test_plugins_import_what_lies_beside_them_each_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper_of_the_tests.py").write_text(f"PLACE = {name!r}\n")
        (tmp_path / name / "my_animals.py").write_text("import helper_of_the_tests as h\nPLACE = h.PLACE\n")
        load_plugin(tmp_path / name / "my_animals.py")
    loaded = [module for name, module in sys.modules.items() if name.startswith("gradinv_plugin_my_animals")]
    # Two files of one name are two modules: an entry's file is looked up by the name of its module.
    assert {(module.PLACE, Path(module.__file__).parent.name) for module in loaded} == {
        ("first", "first"), ("second", "second")
    }  # fmt: skip
    for module in [*loaded, sys.modules["helper_of_the_tests"]]:
        del sys.modules[module.__name__]


def test_what_lies_beside_a_plugin_takes_no_package_s_place(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (plugin.parent / "colorsys.py").write_text("raise RuntimeError('mine')\n")
    plugin.write_text("import colorsys\n")
    load_plugin(plugin)


@pytest.mark.parametrize("broken", ["import no_such_module", "1 / 0", "import sys; sys.exit(0)", "# registers nothing"])
def test_a_broken_entry_point_counts_as_absent_and_is_named_once(
    zoo: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    (tmp_path / f"{PACKAGE}_broken.py").write_text(broken)
    point = EntryPoint("worm", f"{PACKAGE}_broken", "zoo.animals")
    monkeypatch.setattr(gradinv.metrics.registry, "entry_points", lambda group: [point])
    assert [name for name in zoo.names() if zoo.is_usable(name)] == ["cat9", "lion"]
    assert not zoo.is_usable("worm")
    said = capsys.readouterr().err
    assert "worm" in said
    assert said.count("\n") == 1
    with pytest.raises(RequestError, match="worm"):
        zoo.get("worm")


def test_constants_of_a_declaration_are_read_without_importing_it(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(
        "@register('a', low=-1.0, size=2 * 50, cap=None, names=('b', 'c'), weights=name('x'))\nclass A: ...\n"
    )
    constants = {"low": -1.0, "cap": None, "names": ("b", "c")}
    assert declared(file, "register") == {"a": {**constants, "size": COMPUTED, "weights": COMPUTED}}


def test_a_computed_value_is_refused_where_constants_are_asked_for(zoo: Registry, tmp_path: Path) -> None:
    (tmp_path / PACKAGE / "dogs.py").write_text(HEAD + "@register_animal('dog', legs=2 * 2)\ndef dog(): ...\n")
    with pytest.raises(InvalidEntryError, match=r"animal 'dog': legs must be written as a constant in .*dogs"):
        zoo.constants("dog")
    assert zoo.get("dog").metadata == {"legs": 4}
    assert zoo.constants("dog") == {"legs": 4}


def test_constants_import_no_built_in_entry(zoo: Registry) -> None:
    assert zoo.constants("lion") == {"legs": 4}
    assert zoo._entries == {}
    zoo.register("tiger", legs=3)(Path)
    assert zoo.constants("tiger") == {"legs": 3}
    with pytest.raises(UnknownNameError, match="did you mean lion"):
        zoo.constants("lino")
