"""What a run says: before it starts, while it goes on, and at its end."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from tqdm.auto import tqdm

from gradinv.benchmark.experiment import PlannedTrial
from gradinv.benchmark.runs.plan import Plan
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.records import LOST, Record

HOUR = 3600.0


def print_announcement(
    plan: Plan, console: Console, *, trials: int, missing: int, seconds: float, unknown: int, jobs: int
) -> None:
    """How many trials there are and how many are missing, how long these take with all jobs, of how many none knows."""
    text = (
        f"suite {plan.suite.name}: {trials} trials, {trials - missing} done before, {missing} to run, "
        f"about {duration(seconds)} on {plan.device} with {jobs} job{'s' if jobs > 1 else ''}, engine {plan.kind}"
        f"{_unknown(unknown)}"
    )
    resumable = "; stop it whenever you like, the same command goes on from there" if seconds > HOUR else ""
    console.print(text + resumable, soft_wrap=True)


def print_warnings(lines: Iterable[str], console: Console) -> None:
    """Each in a line of its own that stands out."""
    for line in lines:
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)


def print_plan(
    plan: Plan, missing: Sequence[PlannedTrial], seconds: Sequence[float], jobs: int, console: Console, place: str = ""
) -> None:
    """The cells of a plan with their state, evaluations and time; `seconds` are those of the `missing` trials.

    `place` is the card that they were reckoned for, empty where they were measured here.
    """
    estimates: dict[int, list[float]] = {}
    for trial, estimate in zip(missing, seconds, strict=True):
        estimates.setdefault(trial.order, []).append(estimate)
    # Cells come setting by setting, so that a heading is due only where the setting changes.
    heading = None
    for order, trials in _by_order(plan.trials).items():
        cell = trials[0].cell
        setting = f"{cell.victim} ({cell.victim_state}) on {cell.dataset}, defense {cell.defense}, B={cell.batch_size}"
        if setting != heading:
            console.print(f"\n[bold]{escape(setting)}[/]", soft_wrap=True)
            heading = setting
        # Keys have brackets, which rich would take for its markup.
        console.print(escape(_planned_cell(trials, estimates.get(order, []), jobs)), soft_wrap=True)
    for victim in plan.untrained_yet:
        console.print(f"{escape(str(victim))} would be trained first; its time is not in the estimate")
    for victim in plan.undownloaded_yet:
        console.print(f"{escape(str(victim))}: its pretrained weights are not on this machine; run with --download")
    total, unknown = summed(seconds)
    words = f"{len(plan.trials)} trials, {len(missing)} to run, about {duration(total / jobs)} with {jobs} jobs"
    if place:
        several = f", {duration(total / jobs)} on {jobs}" if jobs > 1 else ""
        cards = f"about {duration(total)} on one {place}{several}"
        words = f"{len(plan.trials)} trials, {len(missing)} to run, {cards}: reckoned from operations, not measured"
    console.print(words + _unknown(unknown), soft_wrap=True)


def _planned_cell(trials: Sequence[PlannedTrial], seconds: Sequence[float], jobs: int) -> str:
    """One cell of a plan in a line; `seconds` has a number for each trial that is not done yet."""
    cell, reason = trials[0].cell, trials[0].skip_reason
    done = f", {len(trials) - len(seconds)} done" if len(seconds) < len(trials) else ""
    name = f"  {'  ' if cell.is_control else ''}{cell.key}: {len(trials)} trials{done}"
    if reason:
        return f"{name}, skipped: {reason}"
    evaluations = sum(trial.evaluations for trial in trials)
    total, _ = summed(seconds)
    time_left = f", about {duration(total / jobs)}" if total else ""
    return f"{name}, {evaluations} evaluations{time_left}"


def _by_order(trials: Iterable[PlannedTrial]) -> dict[int, list[PlannedTrial]]:
    groups: dict[int, list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.order, []).append(trial)
    return groups


def follow(records: Iterable[Record], estimates: Mapping[str, float]) -> None:
    """A progress bar with the time left on a terminal or in a notebook, elsewhere a line for each finished trial.

    `estimates` are the seconds of every trial that is awaited, by id.
    """
    shows_bars = sys.stderr.isatty() or "ipykernel" in sys.modules
    # A bar is of no use in a log file, where every update would be a line of its own.
    with tqdm(
        total=summed(estimates.values())[0] or 1.0,
        disable=not shows_bars,
        bar_format="{percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left{postfix}",  # which begins with a comma
    ) as bar:
        for number, record in enumerate(records, start=1):
            bar.set_postfix_str(f"{number} of {len(estimates)} trials, last {record.cell.key}", refresh=False)
            # In estimated seconds, not trials: a trial of 16 images takes many times as long as one of a single image.
            bar.update(summed([estimates[record.id]])[0])
            if not shows_bars:
                print(f"[{number}/{len(estimates)}] {trial_line(record)}", file=sys.stderr, flush=True)


def trial_line(record: Record) -> str:
    """One trial in a line, without control characters: a reason may hold what a network or a library said."""
    cell = record.cell
    name = f"{cell.victim} {cell.defense} B={cell.batch_size} {cell.key} batch {record.repetition}"
    if not record.is_scored:
        return one_line(f"{record.state} {name}: {record.reason}")
    # A suite need not measure PSNR.
    values = [image.metrics["psnr"] for image in record.images if "psnr" in image.metrics]
    psnr = f"PSNR {math.fsum(values) / len(values):.1f} dB, " if values else ""
    return one_line(f"{record.state} {name}: {psnr}{record.evaluations} evaluations, {record.seconds:.1f} s")


def print_states(records: Sequence[Record], planned: int, console: Console) -> None:
    """Name what failed, count the states, and say how many of the `planned` trials have no readable record."""
    for record in records:
        if record.state in LOST:
            console.print(f"[red]{escape(trial_line(record))}[/]", soft_wrap=True)
    if len(records) < planned:
        missing = f"{planned - len(records)} of {planned} trials have no readable record; run the same command again"
        console.print(f"[red]{missing}[/]", soft_wrap=True)
    counts = Counter(record.state for record in records)
    if counts:
        console.print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


def summed(seconds: Iterable[float]) -> tuple[float, int]:
    """The sum of the estimates that are known, and of how many trials there is none (NaN).

    >>> summed([1.0, math.nan, 2.0])
    (3.0, 1)
    """
    every = list(seconds)
    known = [estimate for estimate in every if not math.isnan(estimate)]
    return math.fsum(known), len(every) - len(known)


def _unknown(count: int) -> str:
    return f"; the time of {count} of them could not be measured" if count else ""


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use.

    >>> duration(7), duration(600), duration(9000)
    ('7 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"
