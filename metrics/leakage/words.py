"""The verdict in words: a badge for tables, a sentence for pages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradinv.metrics.leakage.verdict import FAMILY, Leakage

NO_BETTER = "no better than controls"
NO_CONTROL, TOO_FEW = "no control to compare with", "too few batches"
NONE = "none"
"""In a column of respects: tested, and nothing leaks."""
_CONTROLS = ("best_control", "structure_control", "identity_control")


def joined(respects: Sequence[str] | None) -> str:
    """Respects as a column of a board holds them: `pixels+identity`, `none`, or empty where nobody knows.

    >>> joined(("pixels", "identity")), joined(()), joined(None)
    ('pixels+identity', 'none', '')
    """
    return "" if respects is None else "+".join(respects) or NONE


def parted(column: str) -> tuple[str, ...]:
    """The respects of a column, none for `none` and for an empty one.

    >>> parted("pixels+identity"), parted("none"), parted("")
    (('pixels', 'identity'), (), ())
    """
    return tuple(part for part in column.split("+") if part in FAMILY)


def badge(row: Mapping[str, Any]) -> str:
    """The verdict on a row's attack in a few words.

    >>> badge({"best_control": "mean_image", "leaks": "identity", "from_gradient": "none"})
    'identity leaks (not from the gradient)'
    >>> badge({"best_control": "", "leaks": ""}), badge({"best_control": "mean_image", "leaks": "none"})
    ('no control to compare with', 'no better than controls')
    """
    if not row["leaks"]:
        # A run without PSNR has no control for it, and a verdict all the same.
        return TOO_FEW if any(row.get(column) for column in _CONTROLS) else NO_CONTROL
    if row["leaks"] == NONE:
        return NO_BETTER
    every, gradient = parted(row["leaks"]), parted(row["from_gradient"])
    if either := unattributed(row):
        known = f"{_listed(gradient)} from the gradient, " if gradient else ""
        return f"{_leaking(every)} ({known}{_listed(either)} from gradient or statistics)"
    if not row["from_gradient"]:
        return f"{_leaking(every)} ({TOO_FEW} to say whether from the gradient)"
    if gradient == every:
        return _leaking(every)
    return f"{_leaking(every)} ({_listed(gradient) + ' ' if gradient else 'not '}from the gradient)"


def unattributed(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The respects of a row that leak from the gradient or the statistics, without a word on which.

    >>> unattributed({"leaks": "pixels+identity", "from_gradient": "pixels", "from_statistics": "none"})
    ('identity',)
    """
    if not row.get("from_statistics"):  # not granted, or not tested: there is one source
        return ()
    told = {*parted(row["from_gradient"]), *parted(row["from_statistics"])}
    return tuple(respect for respect in parted(row["leaks"]) if respect not in told)


def sentence(leakage: Leakage) -> str:
    """What leaks and from where, in one sentence; empty where nothing could be tested.

    >>> sentence(Leakage({}, gradient=(), statistics=("identity",), untested=()))
    'identity leaks, from the batch-norm statistics; the gradient adds nothing here'
    >>> sentence(Leakage({}, gradient=("pixels", "structure"), untested=("identity",)))
    'pixels and structure leak, from the gradient; identity was not looked at'
    """
    if leakage.gradient is None:
        return ""
    clauses = [*_leak_clauses(leakage), *_aside_clauses(leakage)]
    if leakage.untested:
        verb = "was" if len(leakage.untested) == 1 else "were"
        clauses.append(f"{_listed(leakage.untested)} {verb} not looked at")
    return "; ".join(clauses)


def _leak_clauses(leakage: Leakage) -> list[str]:
    gradient, statistics = leakage.gradient or (), leakage.statistics or ()
    alone = tuple(respect for respect in statistics if respect not in gradient)
    both = tuple(respect for respect in statistics if respect in gradient)
    unknown = [f"{_leaking(leakage.either)}, from the gradient or the batch-norm statistics"] if leakage.either else []
    if not gradient and not statistics:
        return [*unknown, "which of them is not shown"] if unknown else [NO_BETTER]
    if not gradient:
        return [
            f"{_leaking(statistics)}, from the batch-norm statistics",
            *(unknown or ["the gradient adds nothing here"]),
        ]
    clauses = [f"{_leaking(gradient)}, from the gradient", *unknown]
    if both:
        clauses.append(f"the batch-norm statistics alone give {_listed(both)} too, less well")
    if alone:
        clauses.append(f"{_leaking(alone)} from the batch-norm statistics alone")
    return clauses


def _aside_clauses(leakage: Leakage) -> list[str]:
    """What needs no update at all: not leaks of the client, but what a reader would take for one."""
    asides = []
    if leakage.labels:
        asides.append(f"another image of the class gives {_listed(leakage.labels)} already")
    if leakage.prior:
        asides.append(f"the priors alone give {_listed(leakage.prior)} already")
    return asides


def _leaking(respects: Sequence[str]) -> str:
    return f"{_listed(respects)} {'leaks' if respects in (('structure',), ('identity',)) else 'leak'}"


def _listed(respects: Iterable[str]) -> str:
    *first, last = respects
    return f"{', '.join(first)} and {last}" if first else last
