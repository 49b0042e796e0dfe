"""What the values of a metric mean: direction, range, unit, cap; known without importing the metric, or torch."""

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from gradinv.metrics.images.iip import iip_title
from gradinv.metrics.images.scoring import METRICS
from gradinv.metrics.registry import UnknownNameError


class Facts(NamedTuple):
    """`direction` of what is better, all possible values [`low`, `high`], and the `cap` of what counts in a mean."""

    title: str
    direction: str
    low: float
    high: float
    unit: str = ""
    cap: float = math.inf

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is: what turns a difference into a gain."""
        return 1.0 if self.direction == "higher" else -1.0


LABEL_ACCURACY = Facts("label accuracy", "higher", 0.0, 1.0)
"""The one metric of a batch instead of an image; it is no entry of the registry."""


@cache
def facts_of(metric: str) -> Facts | None:
    """The metric's facts; None for a plug-in's metric whose plug-in was not loaded.

    >>> facts_of("psnr")
    Facts(title='PSNR', direction='higher', low=0.0, high=inf, unit='dB', cap=100.0)
    """
    if metric == "label_accuracy":
        return LABEL_ACCURACY
    if iip_title(metric):
        return Facts(iip_title(metric), "higher", 0.0, 1.0)
    try:
        known = METRICS.constants(metric)
    except UnknownNameError:
        return None
    cap = known.get("cap")
    return Facts(
        known["title"],
        known["direction"],
        known["low"],
        known["high"],
        known.get("unit", ""),
        math.inf if cap is None else float(cap),
    )


def counting(metric: str, values: Iterable[float]) -> list[float]:
    """The values as they count in means: those above the cap, infinity included, as the cap; NaN and infinity not.

    >>> counting("psnr", [math.inf, 20.0, math.nan])
    [100.0, 20.0]
    """
    facts = facts_of(metric)
    cap = math.inf if facts is None else facts.cap
    return [value for value in (min(value, cap) for value in values) if math.isfinite(value)]
