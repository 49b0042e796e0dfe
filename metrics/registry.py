"""One registry for attacks, defenses, data sets and metrics: names without imports, entries on demand."""

import ast
import difflib
import fnmatch
import hashlib
import importlib
import importlib.util
import inspect
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from gradinv.metrics.plain_text import cut, one_line

T = TypeVar("T")

PLUGIN_PREFIX = "gradinv_plugin_"
"""What the module of every plug-in file is called by, before the file's own name."""
_plugin_folders: list[str] = []  # the last one loaded first


class RequestError(ValueError):
    """The request itself was wrong; the text is one line that says what and how to mend it (exit status 2)."""


class UnknownNameError(RequestError, KeyError):
    """A name that no registry entry has; its text names the nearest ones."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument: quotes and escapes around a sentence.
        return str(self.args[0])


class InvalidEntryError(RequestError):
    """An entry whose parameters or registration are wrong; its text says what and how to mend it."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing: its name, what it makes, and what is known about it."""

    name: str
    target: T
    metadata: dict[str, Any] = field(default_factory=dict)


def natural_key(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which `resnet18` stands before `resnet101`.

    >>> sorted(["b10", "b2"], key=natural_key)
    ['b2', 'b10']
    """
    # Digits are compared with digits only, so that every name can stand beside every other.
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def unknown(kind: str, name: str, valid: list[str]) -> str:
    """One line that says that `name` is no `kind`, with the nearest valid names.

    >>> unknown("attack", "dgl", ["dlg", "idlg"])
    "unknown attack 'dgl'; did you mean dlg, idlg?"
    """
    near = difflib.get_close_matches(cut(name), valid, n=3, cutoff=0.5)  # its time grows with the name's length
    hint = f"did you mean {', '.join(near)}?" if near else f"valid: {', '.join(valid) or 'none'}"
    return f"unknown {kind} {cut(name)!r}; {hint}"


COMPUTED = object()
"""Stands for a value in a declaration that cannot be known without running the file."""


def declared(path: Path, decorator: str) -> dict[str, dict[str, Any]]:
    """Name -> keywords of every `decorator("name", keyword=value, ...)` in a Python file, which is not imported.

    A value that is no constant is `COMPUTED`.
    """
    text = path.read_text(encoding="utf-8")
    if decorator not in text:
        return {}  # most files: parsing them all would take longer than everything else here
    # Both `register("x")` and `module.register("x")`, as decorator or as plain call.
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return {
        call.args[0].value: {word.arg: _constant(word.value) for word in call.keywords if word.arg}
        for call in calls
        if getattr(call.func, "id", getattr(call.func, "attr", None)) == decorator
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def _constant(node: ast.expr) -> Any:
    # literal_eval takes literals and signs only: nothing of a file that was not imported is ever run.
    try:
        return ast.literal_eval(node)
    except ValueError:
        return COMPUTED


class Registry(Generic[T]):
    """Entries of one kind, by name.

    Built-in names are found by reading the files of `package` for calls of `decorator`, names of other packages in the
    entry points of `group`; neither imports anything. A module is imported when one of its entries is first asked for.
    """

    def __init__(self, kind: str, *, package: str, decorator: str, group: str) -> None:
        self.kind, self.package, self.decorator, self.group = kind, package, decorator, group
        self._entries: dict[str, Entry[T]] = {}
        self._loads: dict[str, bool] = {}

    @cached_property
    def _built_in(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Name -> module and declaration, for every file of the package's folder and of the rooms below it."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise InvalidEntryError(f"package {self.package!r}, which holds the {self.kind}s, is not installed")
        folder = Path(next(iter(spec.submodule_search_locations)))
        return {
            name: (".".join((self.package, *file.relative_to(folder).with_suffix("").parts)), declaration)
            for file in sorted(folder.rglob("*.py"))
            for name, declaration in declared(file, self.decorator).items()
        }

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def register(self, name: str, **metadata: Any) -> Callable[[T], T]:
        """Decorator that registers its target under `name`; a second, different target of that name is an error."""

        def decorate(target: T) -> T:
            earlier = self._entries.get(name)
            # A file that is loaded twice makes an equal but different target: its place tells that it is the same.
            if earlier is not None and earlier.target != target and origin(earlier.target) != origin(target):
                raise InvalidEntryError(
                    f"{self.kind} {name!r} is registered twice: in {origin(earlier.target)} and in {origin(target)}"
                )
            self._entries[name] = Entry(name, target, metadata)
            return target

        return decorate

    def __contains__(self, name: object) -> bool:
        """Whether there is an entry of that name; nothing is imported."""
        return name in self._entries or name in self._built_in or name in self._entry_points

    def names(self, pattern: str = "*") -> list[str]:
        """All names that match the wildcard `pattern`, in natural order."""
        every = {*self._built_in, *self._entry_points, *self._entries}
        return sorted(fnmatch.filter(every, pattern), key=natural_key)

    def is_usable(self, name: str) -> bool:
        """Whether there is an entry of that name that can be had; another package's is imported to find out.

        One that cannot is named once on stderr and counts as absent, for whoever goes over all entries.
        """
        if name in self._entries or name in self._built_in:
            return True
        if name in self._entry_points and name not in self._loads:
            try:
                self.get(name)
            except RequestError as error:
                print(f"gradinv: {one_line(str(error))}; it is left out", file=sys.stderr)
                self._loads[name] = False
        return name in self._entries

    def get(self, name: str) -> Entry[T]:
        """The entry of that name, importing the module that declares it.

        UnknownNameError where there is none, InvalidEntryError where another package's cannot be imported.
        """
        if name in self._built_in:  # even where a plug-in has taken the name: importing ours tells of the collision
            importlib.import_module(self._built_in[name][0])
        elif name not in self._entries and name in self._entry_points:
            self._load(self._entry_points[name])
        if name not in self._entries:
            raise UnknownNameError(unknown(self.kind, name, self.names()))
        return self._entries[name]

    def _load(self, point: EntryPoint) -> None:
        try:
            point.load()
        except BaseException as error:
            _let_interrupts_pass(error)
            raise InvalidEntryError(
                f"{self.kind} {point.name!r} of {point.value} cannot be imported: {in_words(error)}"
            ) from error

    def constants(self, name: str) -> dict[str, Any]:
        """The entry's metadata; of a built-in entry not yet imported the keywords as they are written in its file.

        So a built-in entry need not be imported to be known. UnknownNameError where there is no such entry,
        InvalidEntryError where a keyword is not written as a constant: left out, it would be taken for its default.
        """
        if name in self._entries or name not in self._built_in:
            return self.get(name).metadata
        module, declaration = self._built_in[name]
        if COMPUTED in declaration.values():
            word = next(word for word, value in declaration.items() if value is COMPUTED)
            where = f"{module}, which is read and not run"
            raise InvalidEntryError(f"{self.kind} {name!r}: {word} must be written as a constant in {where}")
        return declaration

    def declaration(self, name: str) -> dict[str, Any]:
        """What is known of an entry without importing it: of a built-in one the keywords that are constants."""
        if name in self._entries or name not in self._built_in:
            return self.get(name).metadata
        return {word: value for word, value in self._built_in[name][1].items() if value is not COMPUTED}

    def is_foreign(self, name: str) -> bool:
        """Whether the entry of that name comes from a plug-in or from another package."""
        return name not in self._built_in

    def origin(self, name: str) -> str:
        """Where the entry is defined, as `file:line`."""
        return origin(self.get(name).target)


def origin(target: Any) -> str:
    """`file:line` of a class or function; of anything else its text."""
    # A preset is a dictionary of parameters and has no place in a file.
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        return str(target)
    try:
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    except (OSError, TypeError):  # of a notebook's cell, which may be run again
        return f"{target.__module__}.{target.__qualname__}"


def load_plugin(path: Path) -> ModuleType:
    """Import a Python file, so that what it registers is known; InvalidEntryError where it is no importable file.

    It may import files beside it. Whatever its import raises, leaving the process included, is that one error.
    """
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InvalidEntryError(f"plug-in {path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and type hints look their module up by name
    _make_importable(path.resolve().parent)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]  # a half-made module would be taken for the plug-in by a second attempt
        _let_interrupts_pass(error)
        raise InvalidEntryError(f"plug-in {path} cannot be imported: {in_words(error)}") from error
    return module


def in_words(error: BaseException) -> str:
    """An exception in words; its type where it says no more than a number or nothing.

    >>> in_words(ValueError("no luck")), in_words(SystemExit(0)), in_words(KeyError("x"))
    ('no luck', 'SystemExit: 0', "KeyError: 'x'")
    """
    text = " ".join(str(error).split())
    says_enough = " " in text and not isinstance(error, KeyError)
    return text if says_enough else f"{type(error).__name__}: {text}".removesuffix(": ")


def _let_interrupts_pass(error: BaseException) -> None:
    """Raise what comes from outside and is no fault of the code that was running: Ctrl-C, a signal's exception."""
    # Where the default handler of Ctrl-C is replaced, as by the command, a KeyboardInterrupt is the code's own.
    is_interrupt = (
        isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_interrupt or not isinstance(error, Exception | SystemExit | KeyboardInterrupt | GeneratorExit):
        raise error


def _module_name(path: Path) -> str:
    # With the folder: two files of one name are two modules, and an entry's file is looked up by its module's name.
    digest = hashlib.sha256(str(path.resolve().parent).encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{PLUGIN_PREFIX}{path.stem}_{digest}"


def _make_importable(folder: Path) -> None:
    """Let files beside a plug-in be imported, after all that is installed: none of them may take another's place."""
    others = [path for path in _plugin_folders if path != str(folder)]
    # Of two plug-ins each may have a `helper.py` beside it: what the first one imported is not the second one's.
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and not name.startswith(PLUGIN_PREFIX) and str(Path(file).resolve().parent) in others:
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path not in _plugin_folders]
    _plugin_folders[:] = [str(folder), *others]
    sys.path += _plugin_folders
