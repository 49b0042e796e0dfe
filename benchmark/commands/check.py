"""`gradinv check`: whether a suite can be run, whether a board may be published, what rows run again came to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradinv.benchmark.commands.names import attacks_of_board, defenses_of_board, suites, victims_of_board
from gradinv.benchmark.commands.options import Plugins, load_plugins, taking
from gradinv.metrics.keys import key_matches
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.datasets import Role
    from gradinv.benchmark.runs import Plan
    from gradinv.metrics.boards import Checked, PublishedRow
    from gradinv.metrics.records import Record

SHOWN = 30  # lines of faults; a file that is wrong throughout has one in every line


@dataclass(frozen=True)
class CheckRequest:
    """What `gradinv check` is asked for, option by option."""

    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE|CSV", help="A shipped suite, a YAML file, or a board's CSV.", autocompletion=suites
        ),
    ]
    plugin: Plugins = field(default_factory=list)
    runs: Annotated[
        list[Path], typer.Option("--runs", help="Of a board: a run directory that it was made from; repeatable.")
    ] = field(default_factory=list)
    attack: Annotated[
        list[str],
        typer.Option(
            help="With --runs: only these rows, run again; wildcard over keys; repeatable.",
            autocompletion=attacks_of_board,
        ),
    ] = field(default_factory=list)
    victim: Annotated[
        str | None, typer.Option(help="With --runs: wildcard over the rows' victims.", autocompletion=victims_of_board)
    ] = None
    defense: Annotated[
        str | None,
        typer.Option(help="With --runs: wildcard over the rows' defenses.", autocompletion=defenses_of_board),
    ] = None
    batch_size: Annotated[list[int], typer.Option(help="With --runs: only these batch sizes.")] = field(
        default_factory=list
    )
    review: Annotated[bool, typer.Option("--review", help="Of a board: what a reviewer asks, with its answers.")] = (
        False
    )

    @property
    def is_filtered(self) -> bool:
        """Whether only some rows are asked for."""
        return bool(self.attack or self.victim or self.defense or self.batch_size)

    def takes(self, row: "PublishedRow") -> bool:
        """Whether a row is asked for."""
        cell = row.cell
        return (
            (not self.attack or any(key_matches(cell.key, pattern) for pattern in self.attack))
            and key_matches(cell.victim, self.victim or "*")
            and key_matches(cell.defense, self.defense or "*")
            and (not self.batch_size or cell.batch_size in self.batch_size)
        )


@taking(CheckRequest)
def check(request: CheckRequest) -> None:
    """Validate a suite with its attacks, defenses, metrics and data, or a board; runs and trains nothing.

    A board with --runs and a filter (--attack, ...): what those rows, run again by anybody, came to, and whether a
    verdict turns (exit status 1).
    """
    load_plugins(request.plugin)
    if request.suite.endswith(".csv"):
        _check_board(request)
    elif request.runs or request.is_filtered or request.review:
        raise RequestError("--runs is for a board (NAME.csv), as --review and filters are; a suite has no records")
    else:
        _check_suite(request.suite)


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


def _check_board(request: CheckRequest) -> None:
    """Exit status 2 and one line for each fault, where there is one."""
    from gradinv.benchmark.commands.show import granted_levels, known_answer
    from gradinv.metrics.boards import check_board, rebuilt
    from gradinv.metrics.records import read_records

    path, runs = Path(request.suite), request.runs
    if request.is_filtered and not runs:
        raise RequestError("filters choose rows that were run again: give --runs DIR beside them")
    # Before the board: they know what its plug-ins' metrics are.
    records, broken = read_records(runs) if runs else ([], [])
    checked = check_board(path, granted_levels(), known_answer)
    faults, warnings = list(checked.faults), list(checked.warnings)
    # Records are compared with what was read from the board, which means nothing while that has faults of its own.
    if runs and not faults and not request.is_filtered:
        wrong, differing = rebuilt(path, checked.rows, records)
        faults, warnings = [*broken, *wrong], warnings + differing
    _say(path, "gradinv", faults)
    if faults:
        raise typer.Exit(2)
    if request.is_filtered:
        _contest(request, checked, records)
    elif request.review:
        _review(path, checked)
    else:
        _say(path, "warning", warnings)
        _conclude(path, checked, ", equal to its records" if runs else "")


def _say(path: Path, kind: str, lines: Sequence[str]) -> None:
    shown = [*lines[:SHOWN], *[f"{path}: {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)]
    print("".join(f"{kind}: {one_line(line)}\n" for line in shown), end="", file=sys.stderr)


def _conclude(path: Path, checked: "Checked", equal: str) -> None:
    from gradinv.metrics.comparison import counted

    for line in checked.fragile:
        print(one_line(f"fragile: {line}"))
    controls = sum(row.cell.is_control for row in checked.rows)
    held = f"{counted(len(checked.rows) - controls, 'attack row')}, {counted(controls, 'control row')}"
    print(f"{path}: {held}{equal}; valid")


def _review(path: Path, checked: "Checked") -> None:
    from gradinv.metrics.boards import review_lines

    print(f"{path}: what a reviewer asks of its attack rows")
    print("\n".join(map(one_line, review_lines(checked.rows))))
    for line in checked.fragile:
        print(one_line(f"fragile: {line}"))


def _contest(request: CheckRequest, checked: "Checked", records: Sequence["Record"]) -> None:
    """Exit status 1 where a verdict turns."""
    from gradinv.metrics.boards import contested

    rows = [row for row in checked.rows if request.takes(row)]
    if not rows:
        keys = ", ".join(dict.fromkeys(row.cell.key for row in checked.rows if not row.cell.is_control))
        raise RequestError(f"{request.suite}: no row passes these filters; its attacks are {keys}")
    contests = contested(rows, checked.samples, records)
    if not contests:
        raise RequestError(
            f"{', '.join(map(str, request.runs))}: no record of the {len(rows)} rows that were asked for"
        )
    for result in contests:
        print(one_line(f"{request.suite}:{result.row.line}: {result.row.name}: {result.words}"))
    raise typer.Exit(1 if any(result.turns for result in contests) else 0)
