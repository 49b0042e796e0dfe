"""Agreement of agents: does their spread tell where the attack guesses?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import rankdata

from gradinv.metrics.figures.presentation import canvas, head, look_of, name_of, panels_in_a_row, width_asked
from gradinv.metrics.figures.small_panels import few_ticks
from gradinv.metrics.records import Cell, Record, setting_of, trials_by_cell, unusual

RESAMPLES = 2_000
PANELS_IN_A_ROW = 3


@dataclass(frozen=True)
class Agreement:
    """Spread of the agents (standard deviation, in units of pixel value) and error of one cell's images.

    `rho` is Spearman's rank correlation of spread and mean squared error over all images, [`low`, `high`] its 95 %
    interval: percentiles of a bootstrap over batches with a fixed seed. NaN where either is constant.
    """

    cell: Cell
    spread: np.ndarray
    error: np.ndarray
    rho: float
    low: float
    high: float
    n_batches: int


def agreements(records: Iterable[Record]) -> list[Agreement]:
    """The agreement of every cell whose trials had several agents and at least two batches."""
    of_cells = []
    for cell, trials in trials_by_cell(records).items():
        # One agent alone has no spread, and one batch nothing to resample.
        batches = [pairs for trial in trials if trial.is_scored and len(pairs := _spread_and_error(trial))]
        if len(batches) > 1:
            of_cells.append(_agreement(cell, batches))
    return of_cells


def _spread_and_error(trial: Record) -> np.ndarray:
    """(images, 2): spread and mean squared error in [0, 1], from the PSNR."""
    # Records hold no mean squared error, but PSNR is -10 log10 of it.
    pairs = [
        (image.details["agent_spread"], 10 ** (-image.metrics["psnr"] / 10))
        for image in trial.images
        if "agent_spread" in image.details and "psnr" in image.metrics
    ]
    return np.array(pairs).reshape(-1, 2)


def _agreement(cell: Cell, batches: Sequence[np.ndarray]) -> Agreement:
    pairs = np.concatenate(batches)
    low, high = _bootstrap(batches)
    return Agreement(cell, pairs[:, 0], pairs[:, 1], spearman(pairs), low, high, len(batches))


def spearman(pairs: np.ndarray) -> float:
    """Spearman's rank correlation of `pairs` (n, 2); NaN where a column is constant.

    >>> round(spearman(np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]])), 3)
    0.5
    """
    # Not SciPy's: it warns about each constant resample, and computes a p-value that no one reads.
    ranks = rankdata(pairs, axis=0)
    ranks -= ranks.mean(0)
    lengths = np.linalg.norm(ranks, axis=0)
    return float(ranks[:, 0] @ ranks[:, 1] / lengths.prod()) if lengths.all() else np.nan


def _bootstrap(batches: Sequence[np.ndarray]) -> tuple[float, float]:
    """Percentiles over resampled batches: images of one batch were attacked together and are no independent draws."""
    # One seed for all: the same records draw the same bytes.
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(batches), (RESAMPLES, len(batches)))
    rhos = np.array([spearman(np.concatenate([batches[index] for index in draw])) for draw in draws])
    defined = rhos[~np.isnan(rhos)]
    return (
        (float(np.quantile(defined, 0.025)), float(np.quantile(defined, 0.975))) if defined.size else (np.nan, np.nan)
    )


def agreement_table(of_cells: Iterable[Agreement]) -> pd.DataFrame:
    """One row per cell with several agents: mean spread and the rank correlation of spread and error."""
    rows: list[dict[str, Any]] = [
        {
            "key": agreement.cell.key,
            "is_control": agreement.cell.is_control,
            **setting_of(agreement.cell),
            "n_batches": agreement.n_batches,
            "n_images": len(agreement.spread),
            "agent_spread_mean": float(agreement.spread.mean()),
            "spearman_spread_error": agreement.rho,
            "spearman_low": agreement.low,
            "spearman_high": agreement.high,
        }
        for agreement in of_cells
    ]
    return pd.DataFrame(rows)


def agreement_figure(of_cells: Sequence[Agreement]) -> Figure:
    """A scatter of error over spread for each cell, one point an image."""
    columns = panels_in_a_row(min(len(of_cells), PANELS_IN_A_ROW), 4.75)
    rows = -(-len(of_cells) // columns)
    figure = canvas(max(4.5, 3.6 * columns), (4.2 if width_asked() is None else 2.6) * rows + 0.2, lowest=1.0)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(of_cells) :]:
        axis.remove()
    for index, (axis, agreement) in enumerate(zip(axes, of_cells, strict=False)):
        color, marker = look_of(agreement.cell.key)
        axis.plot(agreement.spread, agreement.error, linestyle="none", marker=marker, color=color)
        axis.set_title(_heading(agreement), loc="left", fontsize=8)
        axis.set(
            xlabel="spread of the agents (pixel value)", ylabel="mean squared error" if index % columns == 0 else ""
        )
        # Errors span decades; a single value spans nothing, and a logarithmic axis cannot hold it.
        if np.ptp(agreement.error):
            axis.set_yscale("log")
            few_ticks(axis)
    head(
        figure,
        "Do the agents disagree where they are wrong? One point an image.",
    )
    return figure


def _heading(agreement: Agreement) -> str:
    setting = setting_of(agreement.cell)
    named = "".join(f", {name} {setting[name]}" for name in unusual(setting))
    return (
        f"{name_of(agreement.cell.key, 34)}\nbatch-norm statistics {agreement.cell.bn_statistics}{named}\n"
        f"Spearman {agreement.rho:.2f} [{agreement.low:.2f}, {agreement.high:.2f}], {agreement.n_batches} batches"
    )
