"""`gradinv data`: the data sets of the published boards, made from what anybody can download."""

from pathlib import Path
from typing import Annotated

import typer

from gradinv.benchmark.commands.names import recipes


def data(
    name: Annotated[str, typer.Argument(help="Its name; without, all recipes.", autocompletion=recipes)] = "",
    source: Annotated[Path | None, typer.Option(help="Make it, from this folder, in GRADINV_DATA.")] = None,
) -> None:
    """Say how a data set of the boards is made, make it from its source, and compare its files with ours by hash.

    Exit status 1 where they differ. Nothing is downloaded.
    """
    from gradinv.benchmark.datasets import OBTAINABLE, compared, make, recipe_of
    from gradinv.benchmark.machine import data_root

    for shown in [name] if name else OBTAINABLE:
        recipe = recipe_of(shown)
        print(f"{shown}: {recipe.size} px, JPEG of quality {recipe.quality}; from {recipe.source}")
    if not name:
        return
    if source is not None:
        print(make(name, source))
    elif not (data_root() / name).is_dir():
        print(f"not in {data_root()}; `gradinv data {name} --source FOLDER` makes it")
        return
    splits = compared(name)
    print("\n".join(map(str, splits)))
    raise typer.Exit(1 if any(split.differing for split in splits) else 0)
