"""Agreement of agents: does their spread tell where the attack guesses?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from gradinv.metrics.records import Cell, Record, setting_of, trials_by_cell

RESAMPLES = 2_000


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
