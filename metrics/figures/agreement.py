"""Agreement of agents: does their spread tell where the attack guesses?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from gradinv.metrics.boards.columns import SETTING
from gradinv.metrics.records.reading import trials_by_cell
from gradinv.metrics.records.record import Cell, Record
from gradinv.metrics.records.settings import setting_of
from scipy.stats import rankdata

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
    found = []
    for cell, trials in trials_by_cell(records).items():
        batches = [_batch(trial) for trial in trials if trial.is_scored]
        batches = [batch for batch in batches if len(batch)]
        if len(batches) > 1:
            found.append(_agreement(cell, batches))
    return found


def _batch(trial: Record) -> np.ndarray:
    """(images, 2): spread and mean squared error in [0, 1], from the PSNR."""
    both = [
        (image.details["agent_spread"], 10 ** (-image.metrics["psnr"] / 10))
        for image in trial.images
        if "agent_spread" in image.details and "psnr" in image.metrics
    ]
    return np.array(both).reshape(-1, 2)


def _agreement(cell: Cell, batches: Sequence[np.ndarray]) -> Agreement:
    together = np.concatenate(batches)
    low, high = _interval(batches)
    return Agreement(cell, together[:, 0], together[:, 1], spearman(together), low, high, len(batches))


def spearman(pairs: np.ndarray) -> float:
    """Spearman's rank correlation of `pairs` (n, 2); NaN where a column is constant.

    >>> round(spearman(np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]])), 3)
    0.5
    """
    ranks = rankdata(pairs, axis=0)
    ranks -= ranks.mean(0)
    lengths = np.linalg.norm(ranks, axis=0)
    return float(ranks[:, 0] @ ranks[:, 1] / lengths.prod()) if lengths.all() else np.nan


def _interval(batches: Sequence[np.ndarray]) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(batches), (RESAMPLES, len(batches)))
    values = np.array([spearman(np.concatenate([batches[index] for index in draw])) for draw in draws])
    known = values[~np.isnan(values)]
    return (float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))) if known.size else (np.nan, np.nan)


def agreement_table(found: Iterable[Agreement]) -> pd.DataFrame:
    """One row per cell with several agents: mean spread and the rank correlation of spread and error."""
    rows: list[dict[str, Any]] = []
    for one in found:
        cell = {"key": one.cell.key, "is_control": one.cell.is_control}
        setting = setting_of(one.cell)
        rows.append(cell | {name: setting[name] for name in SETTING} | {
            "n_batches": one.n_batches,
            "n_images": len(one.spread),
            "agent_spread_mean": float(one.spread.mean()),
            "spearman_spread_error": one.rho,
            "spearman_low": one.low,
            "spearman_high": one.high,
        })  # fmt: skip
    return pd.DataFrame(rows)
