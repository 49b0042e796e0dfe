"""The median of paired ratios and its interval, and whether two systems did the same work."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

START_TOLERANCE = 1e-3
LATER_TOLERANCE = 1e-2


class Median(NamedTuple):
    """A median and its 95 % interval, which has no bounds (NaN) below six values."""

    value: float
    low: float
    high: float


def median_interval(values: Sequence[float]) -> Median:
    """The median and the interval of the sign test: two order statistics that enclose it in at least 95 of 100 cases.

    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0, 7.0, 6.0])
    Median(value=4.0, low=1.0, high=7.0)
    """
    ordered, n = sorted(values), len(values)
    outside, rank = 0.0, 0
    while (outside := outside + 2 * math.comb(n, rank) / 2**n) <= 0.05:
        rank += 1
    bounds = (ordered[rank - 1], ordered[-rank]) if rank else (math.nan, math.nan)
    return Median(statistics.median(ordered), *bounds)


def paired_ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratio of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def why_void(left: Mapping[str, float], right: Mapping[str, float], rounding: Mapping[str, float]) -> str | None:
    """Why two systems' objectives, by iteration, say that their times cannot be compared; None where they agree.

    They must start within 1e-3 of each other. At iteration 20 they must still be within 1e-2, or within what `rounding`
    of its start changes in the first system.

    >>> why_void({"0": 1.0, "20": 0.5}, {"0": 1.1, "20": 0.5}, {})
    'void: objective 1 and 1.1 at iteration 0'
    >>> why_void({"0": 1.0, "20": 0.5}, {"0": 1.0, "20": 0.52}, {"20": 0.03})
    """
    for step, tolerance in (("0", START_TOLERANCE), ("20", LATER_TOLERANCE)):
        a, b = left.get(step, math.nan), right.get(step, math.nan)
        if not abs(a - b) <= max(tolerance * max(abs(a), abs(b)), rounding.get(step, 0.0)):
            return f"void: objective {a:.4g} and {b:.4g} at iteration {step}"
    return None
