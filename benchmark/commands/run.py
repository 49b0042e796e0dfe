"""`gradinv run`: a suite, a part of it, or its plan."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradinv.benchmark.commands.options import (
    AskedEngine,
    AskedPrecision,
    Device,
    Download,
    Plugins,
    console,
    load_plugins,
    resolve_device,
    taking,
)
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.runs import Plan

EXPERIMENTAL = "experimental: not yet run on a GPU by us"


@dataclass(frozen=True)
class RunRequest:
    """What `gradinv run` is asked for, option by option."""

    suite: Annotated[str, typer.Argument(help="A shipped suite (see `gradinv list suites`) or a YAML file.")]
    attack: Annotated[
        list[str],
        typer.Option(help="An attack in place of the suite's; with a wildcard, a filter on them; repeatable."),
    ] = field(default_factory=list)
    victim: Annotated[str | None, typer.Option(help="Wildcard over the suite's victims.")] = None
    defense: Annotated[str | None, typer.Option(help="Wildcard over the suite's defenses.")] = None
    batch_size: Annotated[list[int], typer.Option(help="Only these batch sizes.")] = field(default_factory=list)
    plugin: Plugins = field(default_factory=list)
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE over the suite's: budget=200, threat_model.labels=none, ...")
    ] = field(default_factory=list)
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many private batches a cell.")] = None
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Run directory; else runs/SUITE.")] = None
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = "auto"
    engine: Annotated[
        AskedEngine,
        typer.Option(
            help="How candidates are evaluated; auto takes what was measured to be fastest; captured (CUDA) is "
            f"{EXPERIMENTAL}."
        ),
    ] = "auto"
    together: Annotated[int, typer.Option(min=0, help="Candidates evaluated in one call; 0: as suits the victim.")] = 0
    precision: Annotated[
        AskedPrecision, typer.Option(help=f"Arithmetic of the attack; tf32 and bf16 (CUDA) are {EXPERIMENTAL}.")
    ] = "float32"
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0: as suits the machine.")] = 0
    shard: Annotated[str, typer.Option(help="i/n: only the i-th of n parts, for job arrays.")] = "1/1"
    download: Download = False
    figures: Annotated[bool, typer.Option(help="Draw figures and contact sheets at the end.")] = True
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and the estimated time; run nothing.")] = (
        False
    )


@taking(RunRequest)
def run(request: RunRequest) -> None:
    """Run what is missing of a suite; the same command goes on where it was stopped."""
    from gradinv.benchmark.machine import prepare_process
    from gradinv.benchmark.runs import RunOptions, default_jobs, run_plan, show_plan
    from gradinv.metrics.records import RunDirectory

    prepare_process()  # before torch allocates anything
    # Whatever can be wrong with the request is looked at before the first thing is built.
    shard, device = _shard(request.shard), resolve_device(request.device)
    load_plugins(request.plugin, request.download)
    plan = _plan(request, device)
    options = RunOptions(
        RunDirectory(request.out or Path("runs") / plan.suite.name),
        jobs=request.jobs or default_jobs(device),
        plugins=tuple(request.plugin),
        shard=shard,
        figures=request.figures,
        download=request.download,
    )
    if request.dry_run:
        show_plan(plan, options, console())
        return
    try:
        raise typer.Exit(run_plan(plan, options, console()))
    except KeyboardInterrupt:
        print("gradinv: stopped; the same command goes on from here", file=sys.stderr)
        # 128 + SIGINT, as shells report it, so that a script does not take a stopped run for a finished one.
        raise typer.Exit(130) from None


def _plan(request: RunRequest, device: str) -> "Plan":
    """The plan of the part of the suite that is asked for."""
    from gradinv.benchmark.runs import EngineChoice, Planner, hash_of, load_suite, select, suite_path

    suite = load_suite(suite_path(request.suite), _settings(request.settings))
    part = select(
        suite,
        attacks=request.attack,
        victims=request.victim,
        defenses=request.defense,
        batch_sizes=request.batch_size,
        limit=request.limit,
    )
    # With the suite as a whole beside the part: rows keep their places, and the engine is that of every part.
    choice = EngineChoice(request.engine, request.together, request.precision)
    planner = Planner(device=device, download=request.download, choice=choice)
    return planner.plan(part, hash_of(suite), suite)


def _settings(pairs: list[str]) -> dict[str, Any]:
    """The dotted names and their values, which are written as in a suite file."""
    import yaml

    result: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            # As YAML, so that numbers, lists and true or false are written here as they are in the file.
            result[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RequestError(f"--set {pair}: the value is no YAML") from error
        if not (name.strip() and equals):
            raise RequestError(f"--set {pair}: write KEY=VALUE")
    return result


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise RequestError(f"--shard {text}: write i/n with 1 <= i <= n")
    return int(part), int(parts)
