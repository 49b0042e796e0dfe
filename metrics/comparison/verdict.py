"""Verdicts: what a report allows to be said, in words and with no word more."""

import math
from collections.abc import Iterable, Sequence

from gradinv.metrics.comparison.compare import FEWEST, Comparison
from gradinv.metrics.comparison.findings import Beaten, Report
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.records.samples import Sample
from gradinv.metrics.statistics.paired import SEVERAL


def verdict(report: Report) -> str:
    """One line about the attack and its baseline.

    No verdict below 8 common batches, nor with unequal budgets unless that was allowed. Without `for this victim` (or
    these two) only from 3 victim seeds on, whose spread then is in the interval. Whether either attack beats its own
    controls is always said.
    """
    return f"{report.attack} against {report.against}: {'; '.join(_clauses(report))}"


def refusal(report: Report) -> str:
    """Why there is no verdict; empty where there is one."""
    if report.budgets and not report.verdict_despite:
        return f"no verdict: {report.budgets} (--allow-unequal-budget compares them all the same)"
    if report.n_batches < FEWEST:
        return f"no verdict: {counted(report.n_batches, 'common batch')}, {FEWEST} are the fewest that allow one"
    return ""


def _clauses(report: Report) -> list[str]:
    refused = refusal(report)
    if refused:
        return [refused, *_failures(report)]
    groups = {word: [one for one in report.comparisons if one.outcome == word] for word in _ORDER}
    found = [_sentence(word, group, _scope(report)) for word, group in groups.items() if group]
    claimed = bool(groups["better"] or groups["worse"])
    if not claimed:
        found[0] += f" {_scope(report)}"
    if report.budgets:
        found.append(report.budgets)
    return [*found, counted(report.n_batches, "batch"), *_of_controls(report, claimed), *_failures(report)]


_ORDER = ("better", "worse", "not distinguishable", "equal", "no verdict")


def _sentence(word: str, group: Sequence[Comparison], scope: str) -> str:
    """`better on PSNR by 1.2 dB [0.8, 1.6] for this victim`, or a word and the metrics it is true of."""
    if word in ("better", "worse"):
        return f"{word} on {_listed(_amount(one) for one in group)} {scope}"
    names = ", ".join(_name(one.metric) for one in group)
    return f"too few batches on {names}" if word == "no verdict" else f"{word} on {names}"


def _scope(report: Report) -> str:
    seeds = len(report.meeting.pairs)
    if seeds >= SEVERAL:
        return f"over {seeds} victim seeds"
    return "for this victim" if seeds == 1 else f"for these {seeds} victims"


def _amount(one: Comparison) -> str:
    """The metric and the size of the difference, positive in the direction that the verdict names."""
    low, high = sorted((abs(one.low), abs(one.high)))
    return f"{_name(one.metric)} by {amount(one.metric, abs(one.gain), low, high)}"


def amount(metric: str, mean: float, low: float, high: float) -> str:
    """A difference with its unit and interval, in as many digits as its bounds need to differ from 0.

    >>> amount("psnr", 1.23, 0.81, 1.64), amount("ssim", 0.0123, 0.0004, 0.0242)
    ('1.2 dB [0.8, 1.6]', '0.0123 [0.0004, 0.0242]')
    """
    facts = facts_of(metric)
    unit = f" {facts.unit}" if facts is not None and facts.unit else ""
    digits = 1 if unit == " dB" else 3
    while digits < 9 and any(bound and float(f"{bound:.{digits}f}") == 0 for bound in (low, high)):
        digits += 1
    middle, *bounds = (f"{round(value, digits) + 0.0:.{digits}f}" for value in (mean, low, high))  # no -0.0
    return f"{middle}{unit}" + ("" if math.isnan(low) else f" [{', '.join(bounds)}]")


def _name(metric: str) -> str:
    facts = facts_of(metric)
    return metric if facts is None else facts.title


def _of_controls(report: Report, claimed: bool) -> list[str]:
    """Whether the two beat their controls: an attack that does not is not worth a claim."""
    (ours, ours_of), (theirs, theirs_of) = report.beaten
    but = "but " if claimed else ""
    if ours_of and theirs_of and ours == theirs == 0:
        return [f"{but}neither beats its controls"]
    if ours_of and theirs_of and ours == ours_of and theirs == theirs_of:
        return ["both beat their controls"]
    first, second = _beats(report.attack, report.beaten[0]), _beats(report.against, report.beaten[1])
    if not ours_of or ours < ours_of:
        return [but + first, second]
    return [first, but + second]


def _beats(key: str, beaten: Beaten) -> str:
    won, known = beaten
    if not known:
        return f"{key} has no controls here to beat"
    if won == known:
        return f"{key} beats its controls"
    return f"{key} does not beat its controls" + (f" for {known - won} of {known} victims" if won else "")


def _failures(report: Report) -> list[str]:
    """How many trials of each side have no values, and how many are scored although they diverged."""
    sides: tuple[tuple[str, list[Sample]], ...] = (
        (report.attack, report.meeting.ours),
        (report.against, report.meeting.theirs),
    )
    failed = [(key, sum(sample.n_failed for sample in side)) for key, side in sides]
    diverged = [(key, sum(sample.n_diverged for sample in side)) for key, side in sides]
    lines = [f"{counted(count, 'failed trial')} of {key} not counted" for key, count in failed if count]
    return lines + [f"{counted(count, 'diverged trial')} of {key} scored" for key, count in diverged if count]


def counted(count: int, thing: str) -> str:
    """The count and the thing, in the plural where there is not one: `1 batch`, `8 batches`."""
    plural = thing + ("es" if thing.endswith("h") else "s")
    return f"{count} {thing if count == 1 else plural}"


def _listed(parts: Iterable[str]) -> str:
    found = list(parts)
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
