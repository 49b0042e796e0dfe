"""Verdicts: what the findings allow to be said, in words and with no word more."""

from collections.abc import Sequence

from gradinv.metrics.comparison.compare import FEWEST, Comparison
from gradinv.metrics.comparison.findings import Beaten, Findings
from gradinv.metrics.statistics import SEVERAL
from gradinv.metrics.typesetting import amount, counted, title_of

# Claims first, then what was tested and proves nothing, last what was not tested.
_ORDER = ("better", "worse", "not distinguishable", "equal", "no verdict")


def verdict_line(findings: Findings) -> str:
    """One line about the attack and its baseline.

    No verdict below 8 common batches, nor with unequal budgets unless that was allowed. Without `for this victim` (or
    these two) only from 3 victim seeds on, whose spread then is in the interval. Whether either attack beats its own
    controls is always said.
    """
    return f"{findings.attack} against {findings.against}: {'; '.join(_clauses(findings))}"


def refusal(findings: Findings) -> str:
    """Why there is no verdict; empty where there is one."""
    if findings.budgets and not findings.verdict_despite:
        return f"no verdict: {findings.budgets} (--allow-unequal-budget compares them all the same)"
    if findings.n_batches < FEWEST:
        return f"no verdict: {counted(findings.n_batches, 'common batch')}, {FEWEST} are the fewest that allow one"
    return ""


def _clauses(findings: Findings) -> list[str]:
    refused = refusal(findings)
    if refused:
        return [refused, *_failures(findings)]
    groups = {outcome: [c for c in findings.comparisons if c.outcome == outcome] for outcome in _ORDER}
    clauses = [_sentence(outcome, group, _scope(findings)) for outcome, group in groups.items() if group]
    claimed = bool(groups["better"] or groups["worse"])
    # The scope stands with every claim; where there is none it is said once, so that no verdict reads as general.
    if not claimed:
        clauses[0] += f" {_scope(findings)}"
    if findings.budgets:
        clauses.append(findings.budgets)
    n_batches = counted(findings.n_batches, "batch")
    return [*clauses, n_batches, *_of_controls(findings, claimed), *_failures(findings)]


def _sentence(outcome: str, group: Sequence[Comparison], scope: str) -> str:
    """`better on PSNR by 1.2 dB [0.8, 1.6] for this victim`, or an outcome and the metrics it is true of."""
    if outcome in ("better", "worse"):
        return f"{outcome} on {_listed([_size(comparison) for comparison in group])} {scope}"
    names = ", ".join(title_of(comparison.metric) for comparison in group)
    return f"too few batches on {names}" if outcome == "no verdict" else f"{outcome} on {names}"


def _scope(findings: Findings) -> str:
    seeds = len(findings.meeting.pairs)
    if seeds >= SEVERAL:
        return f"over {seeds} victim seeds"
    return "for this victim" if seeds == 1 else f"for these {seeds} victims"


def _size(comparison: Comparison) -> str:
    """The metric and the size of the difference, positive in the direction that the verdict names."""
    # The direction stands in words: a loss of [-1.6, -0.8] is `worse by [0.8, 1.6]`.
    low, high = sorted((abs(comparison.low), abs(comparison.high)))
    return f"{title_of(comparison.metric)} by {amount(comparison.metric, abs(comparison.gain), low, high)}"


def _of_controls(findings: Findings, claimed: bool) -> list[str]:
    """Whether the two beat their controls: an attack that does not is not worth a claim."""
    (won, seeds), (baseline_won, baseline_seeds) = findings.beaten
    but = "but " if claimed else ""
    if seeds and baseline_seeds and won == baseline_won == 0:
        return [f"{but}neither beats its controls"]
    if seeds and baseline_seeds and won == seeds and baseline_won == baseline_seeds:
        return ["both beat their controls"]
    attack, baseline = _beats(findings.attack, findings.beaten[0]), _beats(findings.against, findings.beaten[1])
    # `but` stands before the one of the two that takes away from the claim.
    if not seeds or won < seeds:
        return [but + attack, baseline]
    return [attack, but + baseline]


def _beats(key: str, beaten: Beaten) -> str:
    won, seeds = beaten
    if not seeds:
        return f"{key} has no controls here to beat"
    if won == seeds:
        return f"{key} beats its controls"
    return f"{key} does not beat its controls" + (f" for {seeds - won} of {seeds} victims" if won else "")


def _failures(findings: Findings) -> list[str]:
    """How many trials of each side have no values, and how many are scored although they diverged."""
    # An attack that fails on the hard batches looks better than it is, so that this is never left out.
    failed = [(key, sum(sample.n_failed for sample in samples)) for key, samples in findings.sides]
    diverged = [(key, sum(sample.n_diverged for sample in samples)) for key, samples in findings.sides]
    return [
        *(f"{counted(count, 'failed trial')} of {key} not counted" for key, count in failed if count),
        *(f"{counted(count, 'diverged trial')} of {key} scored" for key, count in diverged if count),
    ]


def _listed(parts: Sequence[str]) -> str:
    """The parts in a sentence: commas, and `and` before the last."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
