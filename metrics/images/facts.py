"""What is declared about a metric where it is registered: known without importing the metric, or torch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradinv.metrics.images.ranks import judge_of
from gradinv.metrics.images.scoring import METRICS

Per = Literal["image", "batch"]


@dataclass(frozen=True)
class Facts:
    """The facts about one metric, as `scoring.register_metric` takes them."""

    title: str
    direction: Literal["higher", "lower"]
    meaning: str = ""
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    cap: float = math.inf
    min_size: int = 1
    weights: str | None = None
    per: Per = "image"
    board_column: int | None = None
    panel: bool = False
    always: bool = False
    needs_pool: bool = False

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is: what turns a difference into a gain."""
        return 1.0 if self.direction == "higher" else -1.0

    @property
    def heading(self) -> str:
        """Title and unit.

        >>> facts_of("psnr").heading, facts_of("ssim").heading
        ('PSNR (dB)', 'SSIM')
        """
        return f"{self.title} ({self.unit})" if self.unit else self.title


_declared: dict[str, Facts] = {}
_registered: dict[str, tuple[dict[str, Any], Facts]] = {}
"""Metric -> what it was registered with, and the facts made of that."""


def declare(metric: str, facts: Facts) -> None:
    """Take what a run says of a metric of its plug-ins, so that its values are read as they were meant.

    It is known by `facts_of` only: no suite can ask for it. What is registered goes before, whatever is declared.
    """
    _declared[metric] = facts


def facts_of(metric: str) -> Facts | None:
    """The facts about a metric; None for a plug-in's metric that is neither loaded nor declared by a run.

    >>> facts = facts_of("psnr")
    >>> facts.title, facts.unit, facts.direction, facts.low, facts.cap
    ('PSNR', 'dB', 'higher', 0.0, 100.0)
    """
    # Asked of the registry each time, because a plug-in may be loaded between two calls.
    if METRICS.is_usable(metric):
        return _facts_registered(metric, METRICS.constants(metric))
    # A family: the judge stands in the name, so that no entry can be registered beforehand.
    if judge := judge_of(metric):
        meaning = f"normalised rank of the original in the pool by the judge {judge}; 0.5: chance"
        return Facts(f"identity ({judge})", "lower", meaning, low=0.0, high=1.0, panel=True, needs_pool=True)
    return _declared.get(metric)


def _facts_registered(metric: str, constants: dict[str, Any]) -> Facts:
    # Made once and not for each of the million values of a large board; by identity, because another registration
    # under the name, a plug-in's after a run's, brings another dictionary.
    made_from, facts = _registered.get(metric, (None, None))
    if facts is None or made_from is not constants:
        facts = Facts(**constants)
        _registered[metric] = (constants, facts)
    return facts


def board_metrics(per: Per | None = None) -> tuple[str, ...]:
    """The metrics of every board, in the order of their columns; with `per` those of an image or of a batch alone.

    >>> board_metrics("image")
    ('psnr', 'ssim', 'structure', 'lpips_alex', 'lpips_vgg', 'gmsd', 'fft2d', 'identity_lowpass')
    """
    facts = {name: facts for name in METRICS.names() if (facts := facts_of(name)) is not None}
    placed = [
        (declared.board_column, name)
        for name, declared in facts.items()
        if declared.board_column is not None and per in (None, declared.per)
    ]
    return tuple(name for _, name in sorted(placed))


def default_metrics() -> tuple[str, ...]:
    """The metrics that a suite asks for where it names none: those of every board that are not measured anyway."""
    return tuple(name for name in board_metrics("image") if not METRICS.constants(name).get("always"))


def measured_metrics(asked: Sequence[str]) -> tuple[str, ...]:
    """The metrics that a trial is scored with: those asked for, and those that are measured in every trial.

    The latter cost little and stand in no specification: adding them there would change every trial's id.
    """
    usable = filter(METRICS.is_usable, METRICS.names())
    always = (name for name in usable if METRICS.constants(name).get("always"))
    return tuple(dict.fromkeys((*asked, *board_metrics("batch"), *always)))


def counting(metric: str, values: Iterable[float]) -> list[float]:
    """The values as they count in means: those above the cap, infinity included, as the cap; NaN and infinity not.

    >>> counting("psnr", [math.inf, 20.0, math.nan])
    [100.0, 20.0]
    """
    facts = facts_of(metric)
    cap = math.inf if facts is None else facts.cap
    return [value for value in (min(value, cap) for value in values) if math.isfinite(value)]
