"""What running and loading give: a run with its tables, a trial with its images; both show themselves in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import Tensor

from gradinv.benchmark.api.display import board_html, trial_html
from gradinv.metrics.boards import images_frame, leaderboard
from gradinv.metrics.records import Record
from gradinv.metrics.typesetting import counted


@dataclass(frozen=True)
class Run:
    """The trials of one or more run directories: `records` in the order of the suite, `faults` a line for each unread.

    `plot` and `compare` take it; in a notebook it shows its board and the first images.
    """

    paths: tuple[Path, ...]
    records: Sequence[Record] = field(repr=False)
    faults: Sequence[str] = field(default=(), repr=False)

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard: one row a cell, columns as leaderboards/schema.md explains them."""
        return leaderboard(self.records)

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row a scored image, with every metric."""
        return images_frame(self.records)

    def __str__(self) -> str:
        return f"{counted(len(self.records), 'trial')} of {', '.join(map(str, self.paths))}"

    def _repr_html_(self) -> str:
        return board_html(self.records, self.board, self.paths)


@dataclass(frozen=True, repr=False)
class Trial:
    """One trial: its record, and its images as floats (B, 3, H, W) in [0, 1], in the order of the originals."""

    record: Record
    originals: Tensor = field(repr=False)
    reconstructions: Tensor = field(repr=False)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row an image, by its slot in the batch; one column a metric."""
        images = sorted(self.record.images, key=lambda image: image.slot)
        index = pd.Index([image.slot for image in images], name="slot")
        return pd.DataFrame([image.metrics for image in images], index=index)

    def __str__(self) -> str:
        cell = self.record.cell
        means = ", ".join(f"{name} {value:.4g}" for name, value in self.scores.mean().items())
        return f"{cell.key}, {cell.victim} ({cell.victim_state}), {cell.dataset}, {self.record.state}: {means}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return trial_html(self.record, self.originals, self.reconstructions, self.scores)
