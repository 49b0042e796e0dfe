"""Options that several verbs share, and what they mean."""

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from gradinv.benchmark.commands.names import defenses_of_suite, victims_of_suite
from gradinv.metrics.plain_text import cut, one_line, plain
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from rich.console import Console

    from gradinv.metrics.image_size import ImageSize


VictimsOfSuite = Annotated[
    str | None, typer.Option(help="Wildcard over the suite's victims.", autocompletion=victims_of_suite)
]
DefensesOfSuite = Annotated[
    str | None, typer.Option(help="Wildcard over the suite's defenses.", autocompletion=defenses_of_suite)
]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        help="A Python file of entries (attacks, ...) or a preset file of `gradinv tune`; repeat for more.",
    ),
]
Download = Annotated[bool, typer.Option("--download", help="Allow downloading data and weights.")]

ImageSizes = Annotated[
    str | None, typer.Option("--image-size", help="Pixels, or 64x80 (height x width); else the images' own.")
]

AskedEngine = Literal["auto", "eager", "captured", "compiled"]
AskedPrecision = Literal["float32", "tf32", "bf16"]

LARGEST_SEED = 2**63 - 1

Request = TypeVar("Request")


def taking(request: type[Request]) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Decorator of a verb with many options: typer sees the fields of the dataclass, the verb gets one object of it."""

    def decorate(verb: Callable[[Request], None]) -> Callable[..., None]:
        @wraps(verb)
        def called(**values: Any) -> None:
            verb(request(**values))

        parameters = [_parameter(field) for field in fields(request)]  # type: ignore[arg-type]
        # typer asks the function for its signature and for its annotations; `wraps` has copied those of the verb.
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {}
        return called

    return decorate


def _parameter(field: "Field[Any]") -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)


def console() -> "Console":
    """A console as wide as the terminal; wide enough for every column of a table where the output goes to a file.

    What it prints may come from anybody's records: of control characters it prints the escapes.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PlainConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for text, style, control in super().render(renderable, options):
                # What rich marks as control is rich's own, such as a cursor's moves; all other text may be anybody's.
                yield Segment(text if control else plain(text), style, control)

    return PlainConsole(width=None if sys.stdout.isatty() else 120)


def asked_image_size(text: str | None) -> "ImageSize | None":
    """The size that `--image-size` asks for; DataError where it is none."""
    from gradinv.benchmark.datasets import checked_image_size

    if text is None:
        return None
    return checked_image_size(int(text) if text.isascii() and text.isdecimal() else text)


def say(text: str) -> None:
    """One line on stderr, whatever stands in the text."""
    print(one_line(text), file=sys.stderr)


def load_plugins(paths: list[Path], download: bool = False) -> None:
    """Register what the plug-in files hold; `download` allows downloading data and weights."""
    import os

    from gradinv.benchmark.plugins import load_plugin

    if download:
        os.environ["GRADINV_DOWNLOAD"] = "1"  # an environment variable, because worker processes inherit it
    for path in paths:
        load_plugin(path)


def read_settings(option: str, pairs: list[str]) -> dict[str, Any]:
    """The dotted names of a repeated option and their values, which are written as in a suite file."""
    from gradinv.benchmark.strict_yaml import read_yaml

    result: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name.strip() and equals):
            raise RequestError(f"{option} {cut(pair)}: write KEY=VALUE")
        try:
            # As YAML, so that numbers, lists and true or false are written here as they are in the file.
            result[name.strip()] = read_yaml(text)
        except ValueError as error:
            raise RequestError(f"{option} {cut(pair)}: the value is no YAML ({error})") from error
    return result
