"""Running a suite: plan, resume, execute with progress, write what comes out."""

import math
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gradinv.benchmark.machine import usable_cores
from gradinv.benchmark.runs.executors import Job, jobs_of, run_here, run_in_workers
from gradinv.benchmark.runs.plan import Plan, Trial
from gradinv.benchmark.runs.preflight import estimated_seconds, memory_warnings
from gradinv.benchmark.runs.store import Store
from gradinv.benchmark.runs.suite import Suite
from gradinv.metrics.boards.leaderboard import leaderboard, write_leaderboard
from gradinv.metrics.boards.terminal import print_leaderboard
from gradinv.metrics.comparison.contrasts import Contrast
from gradinv.metrics.figures.all_figures import draw_all
from gradinv.metrics.figures.sheets import draw_sheets
from gradinv.metrics.records.files import write_text
from gradinv.metrics.records.reading import read_records
from gradinv.metrics.records.record import Record
from gradinv.metrics.registry import RequestError
from rich.console import Console
from rich.markup import escape
from tqdm import tqdm

HOUR = 3600.0


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; none of it changes a result."""

    directory: Path
    jobs: int
    plugins: tuple[Path, ...] = ()
    shard: tuple[int, int] = (1, 1)
    figures: bool = True


def default_jobs(device: str) -> int:
    """Worker processes that suit the machine: one a core, at most eight, on the CPU; one on a GPU."""
    return 1 if device == "cuda" else min(usable_cores(), 8)


def run_plan(plan: Plan, options: RunOptions, console: Console) -> int:
    """Run what is missing, then write leaderboard and figures; returns the exit status: 0, or 1 if a trial failed."""
    store = Store(options.directory)
    store.clean()
    mine = [trial for index, trial in enumerate(plan.trials) if index % options.shard[1] == options.shard[0] - 1]
    if not mine:
        console.print("this shard has no trials: there are more shards than trials")
        return 0
    missing = [trial for trial in mine if not store.finished(trial.id)]
    plan.save_victims(options.directory)
    keep_suite(plan.suite, options.directory)
    estimates = estimated_seconds(plan, missing, _device(plan))
    console.print(_announcement(plan, mine, missing, estimates, options), soft_wrap=True)
    for warning in memory_warnings(plan, missing, _device(plan), options.jobs):
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    with closing(_execute(jobs_of(plan, missing, options.directory), options)) as records:
        _follow(records, missing, estimates)
    write_results(options.directory, console, figures=options.figures)
    return _report(store, mine, console)


def write_results(directory: Path, console: Console, *, figures: bool = True) -> None:
    """Leaderboard, figures and contact sheets of every record in the run directory, and the table on the console."""
    records, faults = read_records([directory])
    for fault in faults:
        console.print(f"[yellow]{escape(fault)}[/]", soft_wrap=True)
    written = list(write_leaderboard(records, directory))
    if figures:
        written += draw_all(records, contrasts_of(directory), directory / "figures")
        written += draw_sheets(records, directory, directory / "figures")
    print_leaderboard(leaderboard(records), console)
    console.print(f"{len(records)} records; wrote {', '.join(_shown(written, directory))}", soft_wrap=True)


def keep_suite(suite: Suite, directory: Path) -> None:
    """Write the suite as it was last run to `directory/suite.json`."""
    write_text(directory / "suite.json", suite.model_dump_json(indent=1))


def contrasts_of(directory: Path) -> list[Contrast]:
    """The contrasts of the suite that was last run into `directory`; none where no suite was kept there."""
    path = directory / "suite.json"
    if not path.is_file():
        return []
    try:
        suite = Suite.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise RequestError(f"{path} is no suite of gradinv; delete it and run the suite again") from error
    return [Contrast(one.name, one.attack, one.against) for one in suite.contrasts]


def _shown(paths: Sequence[Path], directory: Path) -> list[str]:
    """The boards by name, and how many figures lie beside them."""
    boards = [str(path) for path in paths if path.parent == directory]
    figures = len(paths) - len(boards)
    return [*boards, f"{figures} figures in {directory / 'figures'}"] if figures else boards


def print_plan(plan: Plan, directory: Path, jobs: int, console: Console) -> None:
    """The cells of a plan with their state, evaluations and time: what `--dry-run` shows."""
    store = Store(directory)
    missing = [trial for trial in plan.trials if not store.finished(trial.id)]
    estimates = estimated_seconds(plan, missing, _device(plan))
    setting = None
    for trials in _by_cell(plan.trials).values():
        cell = trials[0].cell
        named = f"{cell.victim} ({cell.victim_state}) on {cell.dataset}, defense {cell.defense}, B={cell.batch_size}"
        if named != setting:
            console.print(f"\n[bold]{escape(named)}[/]", soft_wrap=True)
            setting = named
        console.print(_planned(trials, estimates, jobs), soft_wrap=True)
    for victim in plan.untrained_yet:
        console.print(f"{escape(victim)} would be trained first; its time is not in the estimate")
    total = sum(estimates.values()) / jobs
    console.print(f"{len(plan.trials)} trials, {len(missing)} to run, about {_duration(total)} with {jobs} jobs")


def _planned(trials: Sequence[Trial], estimates: dict[str, float], jobs: int) -> str:
    """One cell of a plan in a line."""
    cell, reason = trials[0].cell, trials[0].skip_reason
    missing = [trial for trial in trials if trial.id in estimates]
    done = f", {len(trials) - len(missing)} done" if len(missing) < len(trials) else ""
    name = f"  {cell.key if not cell.is_control else '  ' + cell.key}: {len(trials)} trials{done}"
    if reason:
        return escape(f"{name}, skipped: {reason}")
    spent = sum(trial.evaluations for trial in trials)
    seconds = sum(estimates[trial.id] for trial in missing)
    return escape(f"{name}, {spent} evaluations" + (f", about {_duration(seconds / jobs)}" if seconds else ""))


def _by_cell(trials: Iterable[Trial]) -> dict[int, list[Trial]]:
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.order, []).append(trial)
    return groups


def _device(plan: Plan) -> str:
    return plan.trials[0].spec.device


def _announcement(
    plan: Plan, mine: Sequence[Trial], missing: Sequence[Trial], estimates: dict[str, float], options: RunOptions
) -> str:
    seconds = sum(estimates.values()) / options.jobs
    return (
        f"suite {plan.suite.name}: {len(mine)} trials, {len(mine) - len(missing)} done before, {len(missing)} to run, "
        f"about {_duration(seconds)} on {_device(plan)} with {options.jobs} job{'s' if options.jobs > 1 else ''}, "
        f"engine {plan.kind}"
        + ("; stop it whenever you like, the same command goes on from there" if seconds > HOUR else "")
    )


def _execute(jobs: Sequence[Job], options: RunOptions) -> Generator[Record]:
    """The records as they finish."""
    if options.jobs == 1:
        return run_here(jobs)
    return run_in_workers(jobs, min(options.jobs, len(jobs)), options.plugins)


def _follow(records: Iterable[Record], missing: Sequence[Trial], estimates: dict[str, float]) -> None:
    """A progress bar with the time left on a terminal, elsewhere a line for each finished trial."""
    terminal = sys.stderr.isatty()
    total = sum(estimates.values())
    with tqdm(
        total=total or 1.0,
        disable=not terminal,
        bar_format="{percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left, {postfix}",
    ) as bar:
        for number, record in enumerate(records, start=1):
            bar.set_postfix_str(f"{number} of {len(missing)} trials", refresh=False)
            bar.update(estimates[record.id])
            if not terminal:
                print(f"[{number}/{len(missing)}] {_line(record)}", file=sys.stderr, flush=True)


def _line(record: Record) -> str:
    """One trial in a line."""
    cell = record.cell
    name = f"{cell.victim} {cell.defense} B={cell.batch_size} {cell.key} batch {record.repetition}"
    if not record.is_scored:
        return f"{record.state} {name}: {record.reason}"
    values = [image.metrics["psnr"] for image in record.images if "psnr" in image.metrics]
    shown = f"PSNR {math.fsum(values) / len(values):.1f} dB, " if values else ""
    return f"{record.state} {name}: {shown}{record.evaluations} evaluations, {record.seconds:.1f} s"


def _report(store: Store, trials: Sequence[Trial], console: Console) -> int:
    """Name what failed; the exit status."""
    records = [record for record in (store.read(trial.id) for trial in trials) if record is not None]
    bad = [record for record in records if record.state in ("failed", "oom")]
    for record in bad:
        console.print(f"[red]{escape(_line(record))}[/]", soft_wrap=True)
    counts = Counter(record.state for record in records)
    console.print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return 1 if bad else 0


def _duration(seconds: float) -> str:
    """Seconds in the unit a person would use.

    >>> _duration(7), _duration(600), _duration(9000)
    ('7 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"
