"""How tables, pages and figures print numbers, counts and states: one rule for digits, signs, units and intervals."""

import math
from collections.abc import Iterable
from typing import TypeVar

from gradinv.metrics.images import facts_of
from gradinv.metrics.records import Record

Ordered = TypeVar("Ordered", str, int)

_MOST_DIGITS = 9  # a difference below 1e-9 is one of rounding


def title_of(metric: str) -> str:
    """The metric's name in tables; of a plug-in that is not loaded the key is all that is known."""
    facts = facts_of(metric)
    return metric if facts is None else facts.title


def digits_of(metric: str) -> int:
    """Decimals of a typeset value, or of a gain in it: one for dB, else three.

    >>> digits_of("psnr"), digits_of("psnr_gain"), digits_of("ssim")
    (1, 1, 3)
    """
    facts = facts_of(metric.removesuffix("_gain"))
    return 1 if facts is not None and facts.unit == "dB" else 3


def fixed(value: float, decimals: int) -> str:
    """The value with that many decimals, never -0.0; empty for NaN, which is not measured.

    >>> fixed(-0.04, 1), fixed(14.26, 1), fixed(math.nan, 1)
    ('0.0', '14.3', '')
    """
    # Adding 0.0 turns the -0.0 that rounding may leave into 0.0.
    return "" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"


def between(low: float, high: float, decimals: int) -> str:
    """An interval in brackets; empty where it is not known, as below two batches.

    >>> between(0.81, 1.64, 1), between(math.nan, math.nan, 1)
    ('[0.8, 1.6]', '')
    """
    return "" if math.isnan(low) else f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"


def with_interval(mean: float, low: float, high: float, decimals: int) -> str:
    """A mean and its interval, as far as they are known.

    >>> with_interval(1.23, 0.81, 1.64, 1), with_interval(1.23, math.nan, math.nan, 1)
    ('1.2 [0.8, 1.6]', '1.2')
    """
    return " ".join(part for part in (fixed(mean, decimals), between(low, high, decimals)) if part)


def signed(text: str) -> str:
    """The number with a true minus sign.

    >>> signed("-0.5")
    '−0.5'
    """
    return text.replace("-", "\N{MINUS SIGN}")


def percent(share: float, decimals: int = 0) -> str:
    """A share in per cent with its sign; empty for NaN.

    >>> percent(0.5), percent(0.125, 1)
    ('50 %', '12.5 %')
    """
    return "" if math.isnan(share) else f"{100 * share:.{decimals}f} %"


def amount(metric: str, mean: float, low: float, high: float) -> str:
    """A difference with its unit and interval, in as many digits as its bounds need to differ from 0.

    >>> amount("psnr", 1.23, 0.81, 1.64), amount("ssim", 0.0123, 0.0004, 0.0242)
    ('1.2 dB [0.8, 1.6]', '0.0123 [0.0004, 0.0242]')
    """
    facts = facts_of(metric)
    unit = f" {facts.unit}" if facts is not None and facts.unit else ""
    digits = digits_of(metric)
    # A bound that is printed as 0 reads as if the interval held 0, which decides what may be claimed.
    while digits < _MOST_DIGITS and any(bound and float(f"{bound:.{digits}f}") == 0 for bound in (low, high)):
        digits += 1
    return " ".join(part for part in (f"{fixed(mean, digits)}{unit}", between(low, high, digits)) if part)


def counted(count: int, thing: str) -> str:
    """The count and the thing, in the plural where there is not one.

    >>> counted(1, "batch"), counted(8, "batch"), counted(0, "row")
    ('1 batch', '8 batches', '0 rows')
    """
    plural = thing + ("es" if thing.endswith("h") else "s")
    return f"{count} {thing if count == 1 else plural}"


def first_to_last(values: Iterable[Ordered], joint: str = " to ") -> str:
    """The smallest and the largest of the values, or the one that they all are.

    >>> first_to_last(["2025-11-23", "2025-11-22"]), first_to_last([8, 8], "-"), first_to_last([])
    ('2025-11-22 to 2025-11-23', '8', '')
    """
    ends = sorted(set(values))
    return joint.join(str(value) for value in dict.fromkeys(ends[:1] + ends[-1:]))


def state_in_words(trial: Record) -> str:
    """A trial's state with its reason, as notes and pages give it: `skipped: no prior`."""
    return f"{trial.state}: {trial.reason or 'no reason recorded'}"
