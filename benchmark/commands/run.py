"""`gradinv run`: a suite, a part of it, or its plan."""

import sys
from pathlib import Path
from typing import Annotated, Any

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
)
from gradinv.metrics.registry import RequestError


def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite (see `gradinv list suites`) or a YAML file.")],
    attack: Annotated[
        list[str],
        typer.Option(
            "--attack",
            help="An attack in place of the suite's; with a wildcard, a filter on them; repeatable.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    victim: Annotated[str | None, typer.Option(help="Wildcard over the suite's victims.")] = None,
    defense: Annotated[str | None, typer.Option(help="Wildcard over the suite's defenses.")] = None,
    batch_size: Annotated[list[int], typer.Option(help="Only these batch sizes.")] = [],  # noqa: B006
    plugin: Plugins = [],  # noqa: B006
    settings: Annotated[
        list[str],
        typer.Option("--set", help="KEY=VALUE over the suite's: budget=200, threat_model.labels=none, ..."),
    ] = [],  # noqa: B006
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many private batches a cell.")] = None,
    out: Annotated[Path | None, typer.Option("--out", file_okay=False, help="Run directory; else runs/SUITE.")] = None,
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = "auto",
    engine: Annotated[
        AskedEngine, typer.Option(help="How candidates are evaluated; auto takes what was measured to be fastest.")
    ] = "auto",
    together: Annotated[int, typer.Option(min=0, help="Candidates evaluated in one call; 0: as suits the victim.")] = 0,
    precision: Annotated[
        AskedPrecision, typer.Option(help="Arithmetic of the attack; tf32 and bf16 on CUDA.")
    ] = "float32",
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0: as suits the machine.")] = 0,
    shard: Annotated[str, typer.Option(help="i/n: only the i-th of n parts, for job arrays.")] = "1/1",
    download: Download = False,
    figures: Annotated[bool, typer.Option(help="Draw figures and contact sheets at the end.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells and the estimated time; run nothing.")
    ] = False,
) -> None:
    """Run what is missing of a suite; the same command goes on where it was stopped."""
    from gradinv.benchmark.machine import prepare_process
    from gradinv.benchmark.runs.engine_choice import EngineChoice
    from gradinv.benchmark.runs.plan import Planner, hash_of
    from gradinv.benchmark.runs.runner import RunOptions, default_jobs, print_plan, run_plan
    from gradinv.benchmark.runs.suite import load_suite, select, suite_path

    prepare_process()
    part, chosen = _shard(shard), resolve_device(device)
    load_plugins(plugin, download)
    resolved = load_suite(suite_path(suite), _settings(settings))
    selected = select(resolved, attacks=attack, victims=victim, defenses=defense, batch_sizes=batch_size, limit=limit)
    directory = out or Path("runs") / resolved.name
    choice = EngineChoice(engine, together, precision)
    planner = Planner(device=chosen, download=download, may_train=not dry_run, progress=True, choice=choice)
    plan = planner.plan(selected, hash_of(resolved), resolved)
    workers = jobs or default_jobs(chosen)
    if dry_run:
        print_plan(plan, directory, workers, console())
        raise typer.Exit(0)
    options = RunOptions(directory, workers, tuple(plugin), part, figures)
    try:
        raise typer.Exit(run_plan(plan, options, console()))
    except KeyboardInterrupt:
        print("gradinv: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None


def _settings(pairs: list[str]) -> dict[str, Any]:
    """The dotted names and their values, which are written as in a suite file."""
    import yaml

    result: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
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
