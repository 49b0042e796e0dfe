"""The key of an entry: what the user types, what the CSV says, what a test id shows."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, get_type_hints

from gradinv.metrics.plain_text import cut
from gradinv.metrics.registry import InvalidEntryError, unknown

_KEY = re.compile(r"^(?P<name>[A-Za-z_]\w*)(?:\.(?P<preset>\w+))?(?:\[(?P<parameters>.*)\])?$")
UNBOUNDED = "unbounded"
"""Stands in the `Annotated` of a parameter that may be infinite; any other must be a finite number."""
_CONSTANTS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class Key:
    """`name`, `name.preset`, `name[parameter=value,...]` or `name.preset[...]`, taken apart."""

    name: str
    preset: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The canonical text, parameters sorted.

        >>> str(parse_key("gradinversion.no_bn[lr=0.10, alpha_tv=1e-4]"))
        'gradinversion.no_bn[alpha_tv=0.0001,lr=0.1]'
        """
        preset = f".{self.preset}" if self.preset else ""
        return f"{self.name}{preset}{bracketed(self.parameters)}"


def key_matches(key: str, pattern: str) -> bool:
    """Whether the wildcards `*` and `?` of a pattern fit a key; its brackets stand for themselves.

    >>> key_matches("gradinversion[lr=0.1]", "grad*[lr=0.1]"), key_matches("idlg", "dlg")
    (True, False)
    """
    # To `fnmatch` a bracket would begin a set of characters, and on Windows it would ignore case.
    return fnmatchcase(key, pattern.replace("[", "[[]"))


def bracketed(parameters: Mapping[str, Any]) -> str:
    """`[a=1,b=2]`, sorted by name; empty where there are no parameters."""
    inner = ",".join(f"{name}={_show(value)}" for name, value in sorted(parameters.items()))
    return f"[{inner}]" if inner else ""


def parse_key(text: str) -> Key:
    """Take a key apart; InvalidEntryError where it does not follow the grammar.

    >>> parse_key("gaussian_noise[sigma=0.01]").parameters
    {'sigma': 0.01}
    """
    match = _KEY.match(text.strip())
    if match is None:
        raise InvalidEntryError(f"{cut(text)!r} is no key; write name, name.preset or name[parameter=value,...]")
    # `name[]` and a trailing comma say nothing, and are nothing.
    parts = [part for part in (match["parameters"] or "").split(",") if part.strip()]
    pairs = [part.split("=", 1) for part in parts]
    if any(len(pair) != 2 for pair in pairs):
        raise InvalidEntryError(f"{cut(text)!r}: parameters are written parameter=value, separated by commas")
    parameters = {name.strip(): parse_value(value) for name, value in pairs}
    if len(parameters) < len(pairs):
        raise InvalidEntryError(f"{cut(text)!r}: a parameter is given twice")
    return Key(match["name"], match["preset"] or "", parameters)


def split_keys(text: str) -> list[str]:
    """The keys of a combination, which are joined by `+`; a plus inside of brackets belongs to a number.

    >>> split_keys("clipping[max_norm=1e+3] + pruning")
    ['clipping[max_norm=1e+3]', 'pruning']
    """
    return [part.strip() for part in re.split(r"\+(?![^\[]*\])", text)]


def parse_value(text: str) -> Any:
    """A number, true, false, none or a word.

    >>> [parse_value(v) for v in ("3", "1e-4", "inf", "true", "exact")]
    [3, 0.0001, inf, True, 'exact']
    """
    text = text.strip()
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    # An integer first: `3` must not become 3.0, which would be another text and another trial.
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _show(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def checked_arguments(kind: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`, validated against the types in the signature of `function`.

    Raises InvalidEntryError in one line: for an unknown parameter with the nearest valid ones, for a value of a wrong
    type or range with what was expected.
    """
    if not arguments:
        return {}
    from pydantic import (  # `list` and most keys need no pydantic, which takes time to import
        TypeAdapter,
        ValidationError,
    )

    callee = function.__init__ if inspect.isclass(function) else function
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(callee).parameters.items()
    valid = [name for name, parameter in parameters if name != "self" and parameter.kind in named]
    hints = get_type_hints(callee, include_extras=True)  # extras: ranges stand in `Annotated`
    checked = {}
    for name, value in arguments.items():
        if name not in valid:
            raise InvalidEntryError(unknown(f"parameter of {kind}", name, valid))
        try:
            hint = hints.get(name, Any)
            checked[name] = TypeAdapter(hint).validate_python(value)
            reason = _misread(value, checked[name], may_be_infinite=UNBOUNDED in getattr(hint, "__metadata__", ()))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
        if reason:
            raise InvalidEntryError(f"{kind}: {name}={cut(repr(value))} is not valid: {reason}")
    return checked


def _misread(value: Any, checked: Any, *, may_be_infinite: bool) -> str:
    """Why a value is not what its type made of it; empty where it is."""
    # Pydantic takes true for the number one, and any range above a bound for one with infinity in it.
    if isinstance(value, bool) and not isinstance(checked, bool):
        return "Input should be a number, not true or false"
    if isinstance(checked, float) and not (math.isfinite(checked) or (may_be_infinite and not math.isnan(checked))):
        return "Input should be a finite number"
    return ""
