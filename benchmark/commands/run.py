"""`gradinv run`: a suite, a part of it, or its plan."""

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gradinv.benchmark.commands.names import attacks, cards, suites
from gradinv.benchmark.commands.options import (
    AskedEngine,
    AskedPrecision,
    DefensesOfSuite,
    Download,
    Plugins,
    VictimsOfSuite,
    console,
    load_plugins,
    read_settings,
    say,
    taking,
)
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.benchmark.stopping import HAS_ALARM, Stopped
from gradinv.metrics.records import fault_in_words, require_folder
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.estimates import Card
    from gradinv.benchmark.runs import Plan, RunOptions

MOST_JOBS = 1_024
MOST_TOGETHER = 4_096
Executor = Literal["local", "ray", "slurm"]
RAY_SETTINGS = ("address", "gpus")
EXPERIMENTAL = "experimental: not yet run on a GPU by us"


@dataclass(frozen=True)
class RunRequest:
    """What `gradinv run` is asked for, option by option."""

    suite: Annotated[
        str, typer.Argument(help="A shipped suite (see `gradinv list suites`) or a YAML file.", autocompletion=suites)
    ]
    attack: Annotated[
        list[str],
        typer.Option(
            help="An attack in place of the suite's; with a wildcard, a filter on them; repeatable.",
            autocompletion=attacks,
        ),
    ] = field(default_factory=list)
    victim: VictimsOfSuite = None
    defense: DefensesOfSuite = None
    batch_size: Annotated[list[int], typer.Option(help="Only these batch sizes.")] = field(default_factory=list)
    plugin: Plugins = field(default_factory=list)
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE over the suite's: budget=200, threat_model.labels=none, ...")
    ] = field(default_factory=list)
    split: Annotated[
        Literal["evaluation", "tuning"] | None,
        typer.Option(help="tuning: attack images that no result is taken from; sweep hyperparameters there."),
    ] = None
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
    together: Annotated[
        int, typer.Option(min=0, max=MOST_TOGETHER, help="Candidates evaluated in one call; 0: as suits the victim.")
    ] = 0
    precision: Annotated[
        AskedPrecision, typer.Option(help=f"Arithmetic of the attack; tf32 and bf16 (CUDA) are {EXPERIMENTAL}.")
    ] = "float32"
    jobs: Annotated[int, typer.Option(min=0, max=MOST_JOBS, help="Worker processes; 0: as suits the machine.")] = 0
    breadth_first: Annotated[
        bool, typer.Option("--breadth-first", help="Every cell's first batch before any second: stop when you like.")
    ] = False
    executor: Annotated[
        Executor, typer.Option(help="Where trials run: worker processes here, actors of a Ray cluster, a Slurm array.")
    ] = "local"
    cluster: Annotated[
        list[str],
        typer.Option(
            help="KEY=VALUE for the executor: address=HOST:PORT, gpus=0.5 (ray); slurm_partition=... (slurm)."
        ),
    ] = field(default_factory=list)
    shard: Annotated[str, typer.Option(help="i/n: only the i-th of n parts, for job arrays.")] = "1/1"
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="SECONDS", help="A trial that takes longer has failed; else it may take forever."
        ),
    ] = None
    download: Download = False
    figures: Annotated[bool, typer.Option(help="Draw figures and contact sheets at the end.")] = True
    keep: Annotated[
        Literal["pictures", "float"],
        typer.Option(help="float: keep reconstructions as float32 too (floats.safetensors), 24 bytes a pixel."),
    ] = "pictures"
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write curves, scores and pictures for TensorBoard (extra).")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells and the estimated time; run nothing.")] = (
        False
    )
    card: Annotated[
        str,
        typer.Option(
            help="With --dry-run --device cuda: the GPU that time is reckoned for; --jobs: so many.",
            autocompletion=cards,
        ),
    ] = ""


@taking(RunRequest)
def run(request: RunRequest) -> None:
    """Run what is missing of a suite; the same command goes on where it was stopped."""
    from gradinv.benchmark.machine import prepare_process
    from gradinv.benchmark.runs import run_plan, show_plan

    prepare_process()  # before torch allocates anything
    # Whatever can be wrong with the request is looked at before the first thing is built.
    shard, card = _shard(request.shard), _card(request)
    device = "cuda" if card else resolve_device(request.device)
    if request.out is not None:
        require_folder(request.out, "--out")
    load_plugins(request.plugin, request.download)
    plan = _plan(request, device)
    options = _options(request, plan, device, shard)
    if request.dry_run:
        show_plan(plan, options, console(), card)
        return
    require_folder(options.run.path, "--out")
    try:
        raise typer.Exit(run_plan(plan, options, console()).status)
    except (Stopped, KeyboardInterrupt) as stop:
        # Python's own handler is at work where somebody else than the command called this verb.
        stopped = stop if isinstance(stop, Stopped) else Stopped(signal.SIGINT)
        _say_kept(str(stopped), options)
        raise typer.Exit(stopped.status) from None
    except OSError as error:
        _say_kept(fault_in_words(error), options)
        raise typer.Exit(1) from None


def _card(request: RunRequest) -> "Card | None":
    """The card that is asked about, which need not be here; RequestError where no time is asked for."""
    from gradinv.benchmark.estimates import card_of

    if not request.card:
        return None
    if not (request.dry_run and request.device == "cuda"):
        raise RequestError("--card is for --dry-run --device cuda: it names a GPU that is not here")
    return card_of(request.card)


def _options(request: RunRequest, plan: "Plan", device: str, shard: tuple[int, int]) -> "RunOptions":
    from gradinv.benchmark.runs import RunOptions, TensorBoard, default_jobs
    from gradinv.metrics.records import RunDirectory, short_name

    jobs = request.jobs or default_jobs(device)
    if request.trial_timeout is not None and jobs == 1 and not HAS_ALARM:
        raise RequestError("--trial-timeout: this system cannot interrupt a trial in its own process; add --jobs 2")
    directory = RunDirectory(request.out or Path("runs") / short_name(plan.suite.name))
    return RunOptions(
        directory,
        jobs=jobs,
        plugins=tuple(request.plugin),
        shard=shard,
        figures=request.figures,
        download=request.download,
        trial_timeout=request.trial_timeout,
        breadth_first=request.breadth_first,
        executor=request.executor,
        cluster=_cluster(request),
        keep_floats=request.keep == "float",
        watchers=(TensorBoard(directory),) if request.tensorboard else (),
    )


def _cluster(request: RunRequest) -> dict[str, Any]:
    """What the executor is asked for; RequestError for what it does not take."""
    settings = read_settings("--cluster", request.cluster)
    # Slurm takes whatever submitit does, which looks at it itself.
    known = {"local": (), "ray": RAY_SETTINGS, "slurm": settings}[request.executor]
    if unknown := [name for name in settings if name not in known]:
        takes = f"it takes {' and '.join(known)}" if known else "add --executor ray or --executor slurm"
        raise RequestError(f"--cluster {unknown[0]}: no setting of the executor {request.executor}; {takes}")
    return settings


def _say_kept(reason: str, options: "RunOptions") -> None:
    """One line on what ended the run, and what is left of it."""
    from gradinv.metrics.records import trial_ids
    from gradinv.metrics.typesetting import counted

    kept = len(trial_ids(options.run))
    say(f"gradinv: {reason}; {counted(kept, 'record')} kept; the same command goes on from here")


def _plan(request: RunRequest, device: str) -> "Plan":
    """The plan of the part of the suite that is asked for."""
    from gradinv.benchmark.runs import EngineChoice, Planner, hash_of, load_suite, select, suite_path

    split = {} if request.split is None else {"split": request.split}
    suite = load_suite(suite_path(request.suite), read_settings("--set", request.settings) | split)
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


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise RequestError(f"--shard {text}: write i/n with 1 <= i <= n")
    return int(part), int(parts)
