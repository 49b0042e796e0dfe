"""Verbs that look and change nothing: `list`, `show`, `status`, `check`, `doctor`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gradinv.benchmark.commands.options import Plugins, load_plugins
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.datasets import Role
    from gradinv.benchmark.runs import Plan

SHOWN = 30  # lines of faults; a file that is wrong throughout has one in every line
Kind = Literal["attacks", "controls", "datasets", "defenses", "metrics", "models", "rules", "suites"]
Shown = Literal["attack", "control", "defense", "metric", "rule", "schema", "suite"]


# The underscore leaves `list` to the annotations of this file; the verb is called `list` all the same.
def list_(kind: Kind, pattern: Annotated[str, typer.Argument(help="Wildcard.")] = "*", plugin: Plugins = []) -> None:  # noqa: B006
    """List attacks, defenses, models, data sets, metrics, controls, rules of label inference or suites."""
    from fnmatch import fnmatchcase

    load_plugins(plugin)
    for name in _names(kind):
        if fnmatchcase(name, pattern):
            print(one_line(f"{name}{_remark(kind, name)}"))


def show(
    kind: Shown,
    name: Annotated[str, typer.Argument(help="Its key; `schema` has none.")] = "",
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


def check(
    suite: Annotated[str, typer.Argument(metavar="SUITE|CSV", help="A shipped suite, a YAML file, or a board's CSV.")],
    plugin: Plugins = [],  # noqa: B006
    runs: Annotated[
        list[Path], typer.Option("--runs", help="Of a board: a run directory that it was made from; repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Validate a suite with its attacks, defenses, metrics and data, or a board; runs and trains nothing."""
    load_plugins(plugin)
    if suite.endswith(".csv"):
        _check_board(Path(suite), runs)
        return
    if runs:
        raise RequestError("--runs is for a board (NAME.csv); a suite has no records")
    _check_suite(suite)


def _check_suite(suite: str) -> None:
    from gradinv.benchmark.runs import Planner, load_suite, suite_path, without_training

    resolved = load_suite(suite_path(suite))
    # Weights are looked for as well: a suite that names a file which is not there is not valid on this machine.
    plan = without_training(Planner(device="cpu", download=False).plan(resolved, ""))
    skipped = sum(trial.skip_reason is not None for trial in plan.trials)
    _print_changes(plan)
    print(f"{resolved.name}: {len(plan.trials)} trials, {skipped} of them impossible and skipped with a reason; valid")


def _print_changes(plan: "Plan") -> None:
    """What was changed or passed over on the way to the images that the suite's trials and victims see."""
    trained_on = {trial.spec.dataset for trial in plan.trials if trial.spec.victim.state in ("early", "trained")}
    for dataset in plan.datasets.values():
        # Training images only where a victim learns from them: there may be a million.
        roles: tuple[Role, ...] = ("evaluation", "tuning", "train")
        for role in roles if dataset.name in trained_on else roles[:2]:
            for line in dataset.split(role).changes if dataset.has(role) else []:
                print(f"{dataset.name} {dataset.image_size} px, {role}: {line}")


def _check_board(path: Path, runs: list[Path]) -> None:
    """Exit status 2 and one line for each fault, where there is one."""
    from gradinv.benchmark.commands.show import granted_levels, known_answer
    from gradinv.metrics.boards import check_board, rebuilt
    from gradinv.metrics.comparison import counted
    from gradinv.metrics.records import read_records

    # Before the board: they know what its plug-ins' metrics are.
    records, broken = read_records(runs) if runs else ([], [])
    checked = check_board(path, granted_levels(), known_answer)
    faults, warnings = list(checked.faults), list(checked.warnings)
    # Records are compared with what was read from the board, which means nothing while that has faults of its own.
    if runs and not faults:
        wrong, differing = rebuilt(path, checked.rows, records)
        faults, warnings = [*broken, *wrong], warnings + differing
    for kind, lines in (("gradinv", faults), ("warning", warnings)):
        shown = lines[:SHOWN] + [f"{path}: {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)
        print("".join(f"{kind}: {one_line(line)}\n" for line in shown), end="", file=sys.stderr)
    if faults:
        raise typer.Exit(2)
    controls = sum(row.cell.is_control for row in checked.rows)
    held = f"{counted(len(checked.rows) - controls, 'attack row')}, {counted(controls, 'control row')}"
    print(f"{path}: {held}{', equal to its records' if runs else ''}; valid")


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
    return f"  {kind}, from letter {declared.get('letter', 'B')} on" + (f"; needs {needs}" if needs else "")


def _names(kind: Kind) -> list[str]:
    if kind == "attacks":
        from gradinv.attacks.registry import attack_keys

        return attack_keys()
    if kind == "defenses":
        from gradinv.benchmark.defenses import DEFENSES

        return DEFENSES.names()
    if kind == "metrics":
        from gradinv.metrics.images import METRICS

        return METRICS.names()
    if kind == "datasets":
        from gradinv.benchmark.datasets import dataset_names

        return dataset_names()
    if kind == "rules":
        from gradinv.attacks.label_rules import rule_keys

        return rule_keys()
    return _slow_names(kind)


def _slow_names(kind: Kind) -> list[str]:
    """Names that only torch or timm know."""
    if kind == "suites":
        from gradinv.benchmark.runs import suite_names

        return suite_names()
    if kind == "controls":
        from gradinv.benchmark.experiment import CONTROLS

        return list(CONTROLS)
    import timm

    # Registers our own networks with timm.
    import gradinv.benchmark.victims.networks  # noqa: F401

    return timm.list_models()
