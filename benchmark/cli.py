"""The `gradinv` command. Torch and the packages on top of it are imported by the verbs that need them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metrics.registry import RequestError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="gradinv",
    help="The benchmark of gradient-inversion attacks: every number stands beside its controls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Plugins = Annotated[
    list[Path], typer.Option("--plugin", help="A Python file that registers attacks, defenses, ...; repeat for more.")
]
Directory = Annotated[Path | None, typer.Option("--out", file_okay=False, help="Run directory; else runs/SUITE.")]
Download = Annotated[bool, typer.Option("--download", help="Allow downloading data and weights.")]


Device = Literal["auto", "cpu", "cuda"]
Kind = Literal["attacks", "controls", "datasets", "defenses", "metrics", "models", "suites"]
Shown = Literal["attack", "control", "defense", "metric", "suite"]


@app.command()
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
    out: Directory = None,
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = "auto",
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0: as suits the machine.")] = 0,
    shard: Annotated[str, typer.Option(help="i/n: only the i-th of n parts, for job arrays.")] = "1/1",
    download: Download = False,
    figures: Annotated[bool, typer.Option(help="Draw figures and contact sheets at the end.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells and the estimated time; run nothing.")
    ] = False,
) -> None:
    """Run what is missing of a suite; the same command goes on where it was stopped."""
    from benchmark.plan import Planner, hash_of
    from benchmark.runner import RunOptions, default_jobs, print_plan, run_plan
    from benchmark.suite import load_suite, select, suite_path

    console, part, chosen = _console(), _shard(shard), _device(device)
    _load_plugins(plugin, download)
    resolved = load_suite(suite_path(suite), _settings(settings))
    selected = select(resolved, attacks=attack, victims=victim, defenses=defense, batch_sizes=batch_size, limit=limit)
    directory = out or Path("runs") / resolved.name
    planner = Planner(device=chosen, download=download, may_train=not dry_run, progress=True)
    plan = planner.plan(selected, hash_of(resolved), resolved)
    workers = jobs or default_jobs(chosen)
    if dry_run:
        print_plan(plan, directory, workers, console)
        raise typer.Exit(0)
    options = RunOptions(directory, workers, tuple(plugin), part, figures)
    try:
        raise typer.Exit(run_plan(plan, options, console))
    except KeyboardInterrupt:
        print("gradinv: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command("list")
def list_(kind: Kind, pattern: Annotated[str, typer.Argument(help="Wildcard.")] = "*", plugin: Plugins = []) -> None:  # noqa: B006
    """List attacks, defenses, models, data sets, metrics, controls or suites."""
    from fnmatch import fnmatchcase

    _load_plugins(plugin)
    for name in _names(kind):
        if fnmatchcase(name, pattern):
            print(name)


@app.command()
def show(kind: Shown, name: str, plugin: Plugins = []) -> None:  # noqa: B006
    """Show one entry: what it is, its parameters, its paper."""
    from benchmark.show import describe

    _load_plugins(plugin)
    print(describe(kind, name))


@app.command()
def status(runs: list[Path]) -> None:
    """Count the trials of run directories by state, with the reasons of those that failed."""
    from collections import Counter

    from metrics.records import read_records

    records, faults = read_records(runs)
    for state, count in sorted(Counter(record.state for record in records).items()):
        print(f"{count:6d} {state}")
    for record in records:
        if record.state in ("failed", "oom"):
            print(f"{record.state} {record.id} {record.cell.key} B={record.cell.batch_size}: {record.reason}")
    for fault in faults:
        print(fault)
    raise typer.Exit(1 if faults else 0)


@app.command()
def leaderboard(
    runs: list[Path], csv: Annotated[Path | None, typer.Option(help="Where to write the board.")] = None
) -> None:
    """Print the leaderboard of run directories; with --csv, write it there with its .images.csv beside it."""
    from metrics.leaderboard import leaderboard as board
    from metrics.leaderboard import write_boards
    from metrics.records import read_records
    from metrics.tables import print_leaderboard

    records, faults = read_records(runs)
    for fault in faults:
        print(fault, file=sys.stderr)
    if csv is not None:
        write_boards(records, csv, csv.with_suffix(".images.csv"))
    print_leaderboard(board(records), _console())


@app.command()
def plot(
    runs: list[Path], out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures")
) -> None:
    """Draw figures and contact sheets from run directories."""
    from metrics.plots import draw_figures
    from metrics.records import read_records
    from metrics.sheets import draw_sheets

    written = draw_figures(read_records(runs)[0], out)
    for directory in runs:
        written += draw_sheets(read_records([directory])[0], directory, out)
    print("\n".join(str(path) for path in written))


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A timm model, or lenet_dlg.")],
    dataset: Annotated[str, typer.Option(help="Data set to train on.")] = "photos",
    image_size: Annotated[int | None, typer.Option(help="Pixels; else the data set's own.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Else by the size of the data set.")] = None,
    stem: Annotated[
        Literal["default", "cifar"], typer.Option(help="cifar: a 3x3 first convolution and no pooling.")
    ] = "default",
    seed: int = 0,
    device: Device = "auto",
    download: Download = False,
) -> None:
    """Train a victim and keep it in the cache, where suites find it; prints its accuracy and its files."""
    import json

    from benchmark.datasets import create_dataset
    from benchmark.training import train_victim
    from benchmark.victims import VictimSpec

    spec = VictimSpec.model_validate({"model": model, "state": "trained", "seed": seed, "stem": stem, "epochs": epochs})
    path = train_victim(spec, create_dataset(dataset, image_size, download=download), device=_device(device))
    accuracy = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["accuracy"]
    print(f"{spec.key} on {dataset}: accuracy {accuracy:.1%} on the held-out images\n{path}")


@app.command()
def check(
    suite: Annotated[str, typer.Argument(help="A shipped suite or a YAML file.")],
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Validate a suite with its attacks, defenses, metrics and data; runs and trains nothing."""
    from benchmark.plan import Planner
    from benchmark.suite import load_suite, suite_path

    _load_plugins(plugin)
    resolved = load_suite(suite_path(suite))
    plan = Planner(device="cpu", download=False, may_train=False, progress=False).plan(resolved, "")
    skipped = sum(trial.skip_reason is not None for trial in plan.trials)
    print(f"{resolved.name}: {len(plan.trials)} trials, {skipped} of them impossible and skipped with a reason; valid")


@app.command()
def doctor() -> None:
    """Say what is here and what is not: devices, data sets, weights, versions."""
    from benchmark.doctor import report

    print("\n".join(report()))


def main() -> None:
    """Entry point: a wrong request is one line on stderr and exit status 2."""
    try:
        app()
    except RequestError as error:
        print(f"gradinv: {error}", file=sys.stderr)
        sys.exit(2)


def _console() -> "Console":
    """As wide as the terminal; wide enough for the whole table where the output goes to a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)


def _load_plugins(paths: list[Path], download: bool = False) -> None:
    import os

    from metrics.registry import load_plugin

    if download:
        os.environ["GRADINV_DOWNLOAD"] = "1"
    for path in paths:
        load_plugin(path)


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


def _device(device: Device) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("--device cuda: torch sees no CUDA device here; take auto or cpu")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise RequestError(f"--shard {text}: write i/n with 1 <= i <= n")
    return int(part), int(parts)


def _names(kind: Kind) -> list[str]:
    if kind == "attacks":
        from attacks.registry import attack_keys

        return attack_keys()
    if kind == "defenses":
        from benchmark.defenses import DEFENSES

        return DEFENSES.names()
    if kind == "metrics":
        from metrics.scoring import METRICS

        return METRICS.names()
    if kind == "datasets":
        from benchmark.datasets import dataset_names

        return dataset_names()
    return _slow_names(kind)


def _slow_names(kind: Kind) -> list[str]:
    """Names that only torch or timm know."""
    if kind == "suites":
        from benchmark.suite import suite_names

        return suite_names()
    if kind == "controls":
        from benchmark.controls import CONTROLS

        return list(CONTROLS)
    import timm

    import benchmark.networks  # noqa: F401 - registers our own networks with timm

    return timm.list_models()
