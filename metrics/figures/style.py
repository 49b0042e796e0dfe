"""What all figures share: greys, error bars, and how they are saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradinv.metrics.records import write_csv
from gradinv.metrics.statistics import Interval

GREY, DARK_GREY, BAND = "#8c8c8c", "#4d4d4d", "#d9d9d9"
SHOWN, PRINTED = 150, 300
"""Dots per inch of a PNG, on a screen and of the width that a paper asks for."""
BAND_LABEL, BEST_CONTROL = "all controls, lowest to highest mean", "best control"


def error_bars(intervals: Sequence[Interval]) -> np.ndarray:
    """Distances from the means to both bounds, (2, points); NaN, which draws no bar, where there is no interval."""
    distances = [[value.mean - value.low for value in intervals], [value.high - value.mean for value in intervals]]
    # A bound that rounding put on the wrong side of its mean would be an error to matplotlib.
    return np.maximum(distances, 0.0)


def save(figure: Figure, stem: Path, dpi: int, kinds: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Write the figure as `stem.png` and `stem.pdf`; the same figure gives the same bytes.

    The figure is laid out once, so that both files show the same; it keeps that layout.
    """
    # A date or a version in the file would make two equal figures differ.
    without_date: dict[str, dict[str, Any]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    stem.parent.mkdir(parents=True, exist_ok=True)
    # The layout depends on it, and both files share one layout.
    figure.set_dpi(dpi)
    engine = figure.get_layout_engine()
    if engine is not None:  # else each `savefig` would lay out, and draw all of it a second time for that
        engine.execute(figure)
        figure.set_layout_engine(None)
    for path, kind in zip(paths, kinds, strict=True):
        figure.savefig(path, dpi=dpi, metadata=without_date[kind])
    return paths


def write_table(table: pd.DataFrame, stem: Path) -> Path:
    """Write the numbers that a figure was drawn from to `stem.csv`; empty where not measured."""
    return write_csv(table, stem.with_name(f"{stem.name}.csv"))
