"""What one candidate's evaluation costs in turn, and among others in one call."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

from gradinv.attacks.gradient_matching.attack import GradientMatching
from gradinv.attacks.gradient_matching.evaluation import Engine
from tests.benchmarks.side_by_side.machine import now
from tests.benchmarks.side_by_side.problems import Case
from tests.benchmarks.side_by_side.ratios import median_interval, paired_ratios
from tests.benchmarks.side_by_side.timing import SHORT
from tests.benchmarks.side_by_side.trials import Trials, make_trials, matching_attack

CANDIDATES = 16
SPAN = 40
PLACES = [("lenet_dlg", 1, 16), ("lenet_dlg", 1, 32), ("lenet_dlg", 4, 32), ("lenet_dlg", 8, 32)]
PLACES += [("test_resnet", 1, 16), ("test_resnet", 1, 32), ("test_resnet", 4, 32)]


def engines_of(kinds: Sequence[str]) -> list[Engine]:
    """In turn first; then together, by each kind."""
    several = [Engine(kind, together=width) for kind in kinds for width in (4, 8, 16)]  # type: ignore[arg-type]
    return [Engine(), *several]


def together_table(base: Case, models: Sequence[str], rounds: int, kinds: Sequence[str]) -> str:
    """Markdown: milliseconds per candidate in turn, and how many times faster each other way is, with its interval."""
    engines = engines_of(kinds)
    heads = ["model", "B", "px", "in turn", *[f"{engine}: times faster [95 %]" for engine in engines[1:]]]
    rows = [_row(replace(base, model=m, batch=b, size=s), engines, rounds) for m, b, s in PLACES if m in models]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(case: Case, engines: Sequence[Engine], rounds: int) -> list[str]:
    trials = make_trials(case.model, case.batch, case.size, 1, case.device)
    trials = replace(trials, leaks=trials.leaks * CANDIDATES, originals=trials.originals * CANDIDATES)
    attack = matching_attack(case.attack)
    seconds: dict[Engine, list[float]] = {engine: [] for engine in engines}
    for index in range(-1, rounds):  # the first round, which traces and compiles, is not kept
        for engine in engines if index % 2 else reversed(engines):
            found = _seconds(trials, attack, engine)
            if index >= 0:
                seconds[engine].append(found)
    in_turn = seconds[engines[0]]
    cells = [median_interval(paired_ratios(in_turn, seconds[engine])) for engine in engines[1:]]
    shown = [f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]" for cell in cells]
    return [case.model, str(case.batch), str(case.size), f"{1000 * statistics.median(in_turn):.3g} ms", *shown]


def _seconds(trials: Trials, attack: GradientMatching, engine: Engine) -> float:
    """Seconds per evaluation of one candidate: a longer run minus a shorter one."""
    times = []
    for budget in (SHORT, SHORT + SPAN):
        before = now(trials.victim.device)
        found = trials.run(attack, engine, budget)
        times.append(now(trials.victim.device) - before)
        if found[0].engine != str(engine):
            raise RuntimeError("; ".join(found[0].notes))
    return (times[1] - times[0]) / SPAN / CANDIDATES
