"""Charts of a page as numbers in per cent, for a template to draw: where an interval lies, how an objective falls."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradinv.metrics.records import Record

_MARGIN = 0.04  # of the range, kept free at both ends


@dataclass(frozen=True)
class Span:
    """An interval on a scale, in per cent of its width."""

    left: float
    width: float
    middle: float


@dataclass(frozen=True)
class Axis:
    """A linear scale that holds all the values it was made for."""

    low: float
    high: float

    def position(self, value: float) -> float:
        """Where the value lies, in per cent."""
        # A hundredth of a per cent is less than a pixel, and keeps the pages small.
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def span(self, mean: float, low: float, high: float) -> Span:
        """The interval; without bounds it has no width."""
        low, high = (mean if math.isnan(bound) else bound for bound in (low, high))
        return Span(self.position(low), round(self.position(high) - self.position(low), 2), self.position(mean))


def axis_of(values: Iterable[float]) -> Axis | None:
    """The axis of these values, NaN left out; None where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    # One value alone has no range to take a share of.
    margin = _MARGIN * (high - low) or 1.0
    return Axis(low - margin, high + margin)


@dataclass(frozen=True)
class Curve:
    """A line in a box of 100 by 100, as SVG's `points`; `kind` is what it belongs to."""

    kind: str
    points: str


@dataclass(frozen=True)
class Chart:
    """Curves over evaluations from 0 to `last`, from `low` to `high`, logarithmic where all values are positive."""

    curves: tuple[Curve, ...]
    low: float
    high: float
    last: int
    is_log: bool


def objective_chart(attack: Sequence[Record], controls: Sequence[tuple[str, Sequence[Record]]]) -> Chart | None:
    """The attack's objective in each batch, and the median over the batches of the attack and of each control.

    None where no trial of the attack recorded a curve.
    """
    attack_curves = _curves(attack)
    if not attack_curves:
        return None
    control_curves = [(name, _curves(trials)) for name, trials in controls]
    medians = [(name, _median(curves)) for name, curves in control_curves if curves]
    # In the order of drawing: what is thick and matters most comes last, on top.
    lines = [*(("batch", curve) for curve in attack_curves), *medians, ("attack", _median(attack_curves))]
    values = np.concatenate([curve[:, 1] for _, curve in lines])
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high, last = float(finite.min()), float(finite.max()), max(float(curve[:, 0].max()) for _, curve in lines)
    # Objectives fall by orders of magnitude, but some are negative or reach 0.
    is_log = low > 0 and high > low
    drawn = tuple(Curve(name, _points(curve, low, high, last, is_log)) for name, curve in lines)
    return Chart(drawn, low, high, int(last), is_log)


def _curves(trials: Iterable[Record]) -> list[np.ndarray]:
    """Evaluations and objective, (points, 2), of each trial that recorded them."""
    return [np.array(trial.curve, dtype=float) for trial in trials if trial.curve]


def _median(curves: Sequence[np.ndarray]) -> np.ndarray:
    """The median over curves; one that stopped keeps its last value."""
    points = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    # Beyond a curve's end np.interp holds its last value: a trial that stopped keeps what it had.
    return np.stack([points, np.median([np.interp(points, *curve.T) for curve in curves], axis=0)], axis=1)


def _points(curve: np.ndarray, low: float, high: float, last: float, is_log: bool) -> str:
    shown = curve[np.isfinite(curve[:, 1])]
    values, bottom, top = (np.log(x) if is_log else np.asarray(x, dtype=float) for x in (shown[:, 1], low, high))
    # The y axis of SVG points downwards; a constant curve has no range to divide by.
    heights = 100 * (1 - (values - bottom) / ((top - bottom) or 1.0))
    return " ".join(f"{100 * x / (last or 1):.2f},{y:.2f}" for x, y in zip(shown[:, 0], heights, strict=True))
