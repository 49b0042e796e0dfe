"""The skeleton of every figure: trials by setting, drawn in one style, saved with the table they were drawn from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from gradinv.metrics.figures.style import save, styled, write_table
from gradinv.metrics.records import Cell, Record, Setting, batch_means, by_setting, slug, title, trials_by_cell, varying
from gradinv.metrics.statistics import Interval, metric_interval

Trials = Mapping[Cell, Sequence[Record]]

_NOTHING: Setting = {}


@dataclass(frozen=True)
class Scene:
    """What one figure shows: the trials of one setting, with the setting as a file name and as a title."""

    setting: Setting
    trials: Trials
    name: str
    title: str

    @property
    def attacks(self) -> list[Cell]:
        """The cells that are no controls, in the order of the suite."""
        return [cell for cell in self.trials if not cell.is_control]

    @property
    def attack_keys(self) -> list[str]:
        """The keys of the attacks, each once: where batch sizes share a scene, several cells have one key."""
        return list(dict.fromkeys(attack.key for attack in self.attacks))

    def runs(self, key: str, batch_size: int) -> list[Record]:
        """The trials of an attack or a control at one batch size."""
        cells = [cell for cell in self.trials if cell.key == key and cell.batch_size == batch_size]
        return [run for cell in cells for run in self.trials[cell]]


class Drawing(NamedTuple):
    """What draws a figure, with the name of its files and, where it has one, the table of its numbers."""

    name: str
    draw: Callable[[], Figure]
    table: pd.DataFrame | None = None
    kinds: tuple[str, ...] = ("png", "pdf")


def every_trial(_: Record) -> bool:
    """Shows trials without values too: what was skipped or failed has its place in the figure."""
    return True


def scenes(
    records: Sequence[Record],
    shows: Callable[[Record], bool] = every_trial,
    without: Sequence[str] = (),
    stand_ins: Setting = _NOTHING,
) -> list[Scene]:
    """One scene for each setting, of the trials that `shows` takes; cells of which none is left are left out.

    Settings that differ only in the fields `without` share a scene: these are what the figure runs over. Titles say
    nothing of them, or what the `stand_ins` hold.
    """
    # From the latest trial of each batch, as the board is.
    kept = {cell: [trial for trial in trials if shows(trial)] for cell, trials in trials_by_cell(records).items()}
    groups = by_setting([cell for cell in kept if kept[cell]], without)
    settings = [{**setting, **stand_ins} for setting, _ in groups]
    # Over all scenes, so that no two of them get one title, or one file.
    names = varying(settings)
    return [
        Scene(setting, {cell: kept[cell] for cell in cells}, slug(setting, names), title(setting, names))
        for setting, (_, cells) in zip(settings, groups, strict=True)
    ]


def save_all(drawings: Iterable[Drawing], out_dir: Path) -> list[Path]:
    """Save each drawing and its table below `out_dir`; returns the files. The same drawings give the same bytes.

    A figure is drawn when it is saved: in the style of all figures, and one at a time is in memory.
    """
    paths: list[Path] = []
    with styled():
        for drawing in drawings:
            paths += save(drawing.draw(), out_dir / drawing.name, drawing.kinds)
            if drawing.table is not None:
                paths.append(write_table(drawing.table, out_dir / drawing.name))
    return paths


def drawn(drawing: Drawing) -> Figure:
    """The figure of a drawing, in the style of all figures."""
    with styled():
        return drawing.draw()


def interval_of(trials: Iterable[Record], metric: str) -> Interval:
    """The mean of a metric over the batches of some trials, with its 95 % interval."""
    return metric_interval(metric, list(batch_means(trials, metric).values()))
