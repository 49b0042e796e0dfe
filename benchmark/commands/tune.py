"""`gradinv tune`: hyperparameters of an attack, sought on tuning images, kept as a preset file."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradinv.benchmark.commands.names import attacks, metrics, suites
from gradinv.benchmark.commands.options import (
    LARGEST_SEED,
    DefensesOfSuite,
    Download,
    Plugins,
    VictimsOfSuite,
    load_plugins,
    read_settings,
    taking,
)
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.metrics.records import require_folder
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.runs import Suite
    from gradinv.benchmark.tuning import Progress

MOST_TRIALS = 10_000
MOST_JOBS = 64


@dataclass(frozen=True)
class TuneRequest:
    """What `gradinv tune` is asked for, option by option."""

    attack: Annotated[
        str, typer.Argument(help="The attack, whose own weights are tried first.", autocompletion=attacks)
    ]
    suite: Annotated[
        str, typer.Argument(help="A suite (shipped or a file) whose one cell is tuned in.", autocompletion=suites)
    ]
    victim: VictimsOfSuite = None
    defense: DefensesOfSuite = None
    batch_size: Annotated[list[int], typer.Option(help="Only this batch size.")] = field(default_factory=list)
    settings: Annotated[list[str], typer.Option("--set", help="KEY=VALUE over the suite's.")] = field(
        default_factory=list
    )
    trials: Annotated[int, typer.Option(min=2, max=MOST_TRIALS, help="Settings to try; the same for every attack.")] = (
        32
    )
    batches: Annotated[int, typer.Option(min=1, help="Private batches of tuning images that each is scored on.")] = 8
    objective: Annotated[
        str, typer.Option(help="psnr, structure or a judge of identity: what is made best.", autocompletion=metrics)
    ] = "psnr"
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the search.")] = 0
    name: Annotated[str | None, typer.Option(help="Of the preset; else tuned_DATASET_VICTIM.")] = None
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Run directory; else runs/tune-ATTACK-NAME.")] = None
    jobs: Annotated[int, typer.Option(min=0, max=MOST_JOBS, help="Worker processes; 0: as suits the machine.")] = 0
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = "auto"
    plugin: Plugins = field(default_factory=list)
    download: Download = False


@taking(TuneRequest)
def tune(request: TuneRequest) -> None:
    """Seek an attack's weights on tuning images and keep the best as a preset file; the same command goes on."""
    from gradinv.benchmark.machine import prepare_process
    from gradinv.benchmark.runs import EngineChoice, Planner, default_jobs
    from gradinv.benchmark.tuning import Asked, Bench, space_of, tune as tuned, tuning_setting, write_preset
    from gradinv.metrics.keys import parse_key
    from gradinv.metrics.records import RunDirectory, short_name

    prepare_process()  # before torch allocates anything
    device = resolve_device(request.device)
    load_plugins(request.plugin, request.download)
    setting = tuning_setting(_suite(request), request.objective, request.batches)
    space = space_of(setting.blocks[0].attacks[0])
    name = request.name or _name(setting)
    if re.fullmatch(r"\w+", name) is None:
        raise RequestError(f"--name {name}: letters, digits and _ alone, as in a key")
    folder = request.out or Path("runs") / short_name(f"tune-{parse_key(request.attack).name}-{name}")
    require_folder(folder, "--out")
    # One candidate at a time and by autograd: a program would be traced anew for every setting.
    planner = Planner(device=device, download=request.download, choice=EngineChoice("eager", together=1))
    jobs = request.jobs or default_jobs(device)
    bench = Bench(setting, RunDirectory(folder), planner, jobs=jobs, plugins=request.plugin)
    path = folder / f"{name}.yaml"
    asked = Asked(space, request.trials, request.batches, request.seed, name)
    bench.planned([space.key_of(space.published)], 0)  # what is impossible is said before a worker starts
    with bench.open():
        for progress in tuned(asked, bench):
            write_preset(progress.preset, path)
            print(_line(progress, request.trials), flush=True)
    print(f"{path}\ngradinv run {request.suite} --plugin {path} --attack {progress.preset.key}")


def _suite(request: TuneRequest) -> "Suite":
    from gradinv.benchmark.runs import load_suite, select, suite_path

    return select(
        load_suite(suite_path(request.suite), read_settings("--set", request.settings)),
        attacks=[request.attack],
        victims=request.victim,
        defenses=request.defense,
        batch_sizes=request.batch_size,
    )


def _name(setting: "Suite") -> str:
    """`tuned_DATASET_VICTIM`, in the letters that a preset's name may have."""
    (block,) = setting.blocks
    return re.sub(r"\W+", "_", f"tuned_{block.dataset}_{block.victims[0].key}").strip("_")


def _line(progress: "Progress", trials: int) -> str:
    tuning = progress.preset.tuning
    return (
        f"[{len(progress.every)}/{trials}] {tuning.objective}: best {tuning.best:.4g}, median {tuning.median:.4g}, "
        f"published {tuning.published:.4g}; {tuning.pruned} given up, {tuning.evaluations} evaluations"
    )
