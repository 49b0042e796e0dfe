"""Options that several verbs share, and what they mean."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from rich.console import Console

Plugins = Annotated[
    list[Path], typer.Option("--plugin", help="A Python file that registers attacks, defenses, ...; repeat for more.")
]
Download = Annotated[bool, typer.Option("--download", help="Allow downloading data and weights.")]

Device = Literal["auto", "cpu", "cuda"]
AskedEngine = Literal["auto", "eager", "captured", "compiled"]
AskedPrecision = Literal["float32", "tf32", "bf16"]


def console() -> "Console":
    """A console as wide as the terminal; wide enough for the whole table where the output goes to a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)


def load_plugins(paths: list[Path], download: bool = False) -> None:
    """Register what the plug-in files hold; `download` allows downloading data and weights."""
    import os

    from gradinv.metrics.registry import load_plugin

    if download:
        os.environ["GRADINV_DOWNLOAD"] = "1"
    for path in paths:
        load_plugin(path)


def resolve_device(device: Device) -> str:
    """The device that is meant; RequestError where there is none of the kind."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("--device cuda: torch sees no CUDA device here; take auto or cpu")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
