"""Verbs that look and change nothing: `list`, `show`, `status`, `doctor`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gradinv.benchmark.commands.names import Kind, entries, listed, names_of
from gradinv.benchmark.commands.options import Plugins, load_plugins
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.registry import RequestError

Shown = Literal[
    "attack", "control", "dataset", "defense", "distance", "init", "metric", "model", "rule", "schema", "suite"
]


# The underscore leaves `list` to the annotations of this file; the verb is called `list` all the same.
def list_(
    kind: Kind,
    pattern: Annotated[str, typer.Argument(help="Wildcard.", autocompletion=listed)] = "*",
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """List attacks and their parts (distances, inits, rules of label inference), and all that they meet."""
    from fnmatch import fnmatchcase

    load_plugins(plugin)
    for name in names_of(kind):
        if fnmatchcase(name, pattern):
            print(one_line(f"{name}{_remark(kind, name)}"))


def show(
    kind: Shown,
    name: Annotated[str, typer.Argument(help="Its key; `schema` has none.", autocompletion=entries)] = "",
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Show one entry: what it is, its parameters, its paper; or the schema: every column of every table."""
    from gradinv.benchmark.commands.show import describe

    # Wrong in two ways, caught by one comparison: a schema with a name, anything else without.
    if (kind == "schema") == bool(name):
        raise RequestError("the schema has no NAME" if name else f"NAME is missing; see `gradinv list {kind}s`")
    load_plugins(plugin)
    print(describe(kind, name))


def status(runs: list[Path], plugin: Plugins = []) -> None:  # noqa: B006
    """Count the trials of run directories by state; exit status 1 where some failed or cannot be read, with reasons."""
    from collections import Counter

    from gradinv.metrics.records import LOST, RunDirectory, plugins_in_words, read_records

    load_plugins(plugin)
    records, faults = read_records(runs)
    for state, count in sorted(Counter(record.state for record in records).items()):
        print(f"{count:6d} {state}")
    for line in [line for run in runs for line in plugins_in_words(RunDirectory(run))]:
        print(one_line(line))
    # As `run` ends: a script that looks at the exit status of either must not take a board with holes for a whole one.
    lost = [record for record in records if record.state in LOST]
    for record in lost:
        text = f"{record.state} {record.id} {record.cell.key} B={record.cell.batch_size}: {record.reason}"
        print(one_line(text))
    for fault in faults:
        print(one_line(fault))
    raise typer.Exit(1 if lost or faults else 0)


def doctor() -> None:
    """Say what is here and what is not: devices, data sets, weights, versions."""
    from gradinv.benchmark.commands.doctor import machine_facts

    print("\n".join(machine_facts()))


def _remark(kind: Kind, name: str) -> str:
    """What a list says of an entry beside its name: of an attack what it needs, of a model where its weights are."""
    if kind == "attacks":
        return _attack_remark(name)
    if kind != "models":
        return ""
    from gradinv.benchmark.victims import pretrained_source

    source = pretrained_source(name)
    return f"  pretrained weights here ({source})" if source else ""


def _attack_remark(key: str) -> str:
    """Exact or approximate, the letter and the needs of an attack; nothing of a preset, which has its attack's."""
    from gradinv.attacks.registry import ATTACKS

    if key not in ATTACKS:
        return ""
    declared = ATTACKS.declaration(key)
    kind = "exact" if declared.get("exact") else "approximate"
    needs = declared.get("needs")
    return f"  {kind}, passive, from letter {declared.get('letter', 'B')} on" + (f"; needs {needs}" if needs else "")
