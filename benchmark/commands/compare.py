"""`gradinv compare`: one attack against another, with a verdict in words."""

from pathlib import Path
from typing import Annotated

import typer

from gradinv.benchmark.commands.names import attacks
from gradinv.benchmark.commands.options import Plugins, console, load_plugins, say
from gradinv.metrics.records import require_file
from gradinv.metrics.registry import RequestError

_SHOWN = 20  # faults of a board; a file that is wrong throughout has one in every line


def compare(
    attack: Annotated[str, typer.Option(help="Key of the attack.", autocompletion=attacks)],
    runs: Annotated[list[Path] | None, typer.Argument(help="Run directories.")] = None,
    against: Annotated[
        list[str], typer.Option(help="Key of the baseline; repeat for more.", autocompletion=attacks)
    ] = ["gradinversion"],  # noqa: B006
    board: Annotated[
        list[Path], typer.Option(help="A published NAME.images.csv: supplies what the runs lack; repeat for more.")
    ] = [],  # noqa: B006
    allow_unequal_budget: Annotated[
        bool, typer.Option("--allow-unequal-budget", help="Give a verdict although one side may spend more.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Where to write the table.")] = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Compare an attack with another: paired by image, with intervals, tests and a verdict in words.

    Only rows that were granted the same things are compared; the fields that keep others apart are named.
    """
    from gradinv.metrics.boards import read_board
    from gradinv.metrics.comparison import find_key, findings_of, print_findings, write_comparison
    from gradinv.metrics.records import pooled, read_records, samples_of

    if not runs and not board:
        raise RequestError("nothing to compare: give run directories, or a board with --board")
    if csv is not None:
        require_file(csv, "--csv")
    load_plugins(plugin)
    records, faults = read_records(runs or [])
    # Records come first: where a board has the same cell, what lies on this disk counts.
    sources = [samples_of(records, ", ".join(map(str, runs or [])))]
    for path in board:
        published, flaws = read_board(path)
        sources.append(published)
        faults += flaws[:_SHOWN] + [f"{path}: {len(flaws) - _SHOWN} more faults"] * (len(flaws) > _SHOWN)
    for fault in faults:
        say(fault)
    samples = pooled(sources)
    keys = [find_key(name, samples) for name in (attack, *against)]
    findings, notes = findings_of(samples, keys[0], keys[1:], any_budget=allow_unequal_budget)
    for note in notes:
        say(note)
    if csv is not None:
        write_comparison(findings, csv)
    print_findings(findings, console())
