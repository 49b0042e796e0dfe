"""The skeleton of every figure: trials by setting, drawn in one style, saved with the table they were drawn from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import Presentation, current, styled, width_asked
from gradinv.metrics.figures.style import PRINTED, SHOWN, save, write_table
from gradinv.metrics.records import (
    Cell,
    Record,
    Setting,
    batch_means,
    by_setting,
    slug,
    title,
    trials_by_cell,
    varying,
    write_text,
)
from gradinv.metrics.statistics import Interval, metric_interval
from gradinv.metrics.typesetting import state_in_words

Trials = Mapping[Cell, Sequence[Record]]

_NOTHING: Setting = {}


@dataclass(frozen=True)
class Scene:
    """What one figure shows: the trials of one setting, with the setting as a file name and as a title.

    `absent` are the keys of attacks that were planned in the setting and are not shown, with the reason.
    """

    setting: Setting
    trials: Trials
    name: str
    title: str
    absent: Mapping[str, str] = field(default_factory=dict)

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


def paged(
    kind: str, scene: Scene, per_page: int, draw: Callable[[int], Figure], table: pd.DataFrame
) -> Iterator[Drawing]:
    """The pages of a figure, which `draw` makes for the attacks from a number on; one table for all, by the first."""
    for page, start in enumerate(range(0, len(scene.attack_keys), per_page), start=1):
        name = f"{kind}-{scene.name}" + (f"-{page}" if page > 1 else "")
        yield Drawing(name, partial(draw, start), table if page == 1 else None)


def every_trial(_: Record) -> bool:
    """Shows trials without values too: what was skipped or failed has its place in the figure."""
    return True


def scenes(
    records: Sequence[Record],
    shows: Callable[[Record], bool] = every_trial,
    without: Sequence[str] = (),
    stand_ins: Setting = _NOTHING,
    lacks: str = "no values",
) -> list[Scene]:
    """One scene for each setting, of the trials that `shows` takes; cells of which none is left are left out.

    Settings that differ only in the fields `without` share a scene: these are what the figure runs over. Titles say
    nothing of them, or what the `stand_ins` hold. `lacks` says in words what a trial lacks that has values and is not
    shown.
    """
    # From the latest trial of each batch, as the board is.
    every = trials_by_cell(records)
    kept = {cell: [trial for trial in trials if shows(trial)] for cell, trials in every.items()}
    groups = by_setting([cell for cell in kept if kept[cell]], without)
    settings = [{**setting, **stand_ins} for setting, _ in groups]
    # Over all scenes, so that no two of them get one title, or one file.
    names = varying(settings)
    return [
        Scene(
            setting,
            {cell: kept[cell] for cell in cells},
            slug(setting, names),
            title(setting, names, names_defense="defense" not in without),
            _absent(shared, cells, every, without, lacks),
        )
        for setting, (shared, cells) in zip(settings, groups, strict=True)
    ]


def _absent(
    shared: Setting, cells: Sequence[Cell], every: Trials, without: Sequence[str], lacks: str
) -> dict[str, str]:
    """The attacks of a setting that have no cell in its scene, with the reason."""
    shown = {cell.key for cell in cells}
    alike = [cell for cell in every if not cell.is_control and cell.key not in shown]
    (of_setting,) = [group for setting, group in by_setting([*alike, cells[0]], without) if setting == shared]
    return {
        cell.key: lacks if every[cell][0].is_scored else state_in_words(every[cell][0])
        for cell in of_setting
        if cell.key not in shown
    }


def save_all(drawings: Iterable[Drawing], out_dir: Path, presentation: Presentation | None = None) -> list[Path]:
    """Save each drawing as PNG and PDF, and its table, below `out_dir`; returns the files.

    The same drawings give the same bytes. Without titles the words of each figure stand in a text file beside it.

    A figure is drawn when it is saved: in the style of all figures, and one at a time is in memory.
    """
    paths: list[Path] = []
    with styled(presentation or Presentation()):
        for drawing in drawings:
            figure = drawing.draw()
            paths += save(figure, out_dir / drawing.name, SHOWN if width_asked() is None else PRINTED)
            if not current().titles:
                paths.append(out_dir / f"{drawing.name}.txt")
                write_text(paths[-1], f"{figure.get_label()}\n")
            if drawing.table is not None:
                paths.append(write_table(drawing.table, out_dir / drawing.name))
    return paths


def drawn(drawing: Drawing, presentation: Presentation) -> Figure:
    """The figure of a drawing, as it is to be presented."""
    with styled(presentation):
        return drawing.draw()


def interval_of(trials: Iterable[Record], metric: str) -> Interval:
    """The mean of a metric over the batches of some trials, with its 95 % interval."""
    return metric_interval(metric, list(batch_means(trials, metric).values()))
