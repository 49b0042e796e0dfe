"""Load what lies on disk or has a name: runs, boards, data sets, victims, leaks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from gradinv.attacks.leak import Leak
from gradinv.benchmark import victims
from gradinv.benchmark.api.results import Run
from gradinv.benchmark.datasets import Dataset, create_dataset
from gradinv.benchmark.experiment import read_leak
from gradinv.benchmark.victims import LoadedVictim
from gradinv.metrics.boards import read_frame
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.records import read_records


def load_run(*directories: str | Path) -> Run:
    """All trials of run directories; one that lies in several counts once. RecordsError where there are none.

    What cannot be read is left out and stands in `Run.faults`.
    """
    paths = tuple(map(Path, directories))
    records, faults = read_records(paths)
    return Run(paths, records, faults)


def load_board(path: str | Path) -> pd.DataFrame:
    """A published board, its image table or a board of label inference (CSV) as a data frame.

    The types are those of `Run.board`; leaderboards/schema.md explains the columns. BoardError where it is no table.
    """
    return read_frame(Path(path))


def load_data(name: str, image_size: ImageSize | Sequence[int] | None = None, *, download: bool = False) -> Dataset:
    """A data set: `.split("evaluation").images([0, 1])` are images (B, 3, H, W) in [0, 1], `.labels` their classes.

    Splits are `train`, `tuning` and `evaluation`. `image_size` is a number or (height, width), without it the set's
    own. DataError where it is not here.
    """
    return create_dataset(name, image_size, download=download)


def load_victim(
    model: str,
    *,
    state: Literal["untrained", "early", "trained", "pretrained"] = "untrained",
    dataset: str = "photos",
    image_size: ImageSize | Sequence[int] | None = None,
    download: bool = False,
    **shaping: Any,
) -> LoadedVictim:
    """A victim as a suite's `victims` describe it: `.module` is the network in eval mode, `.mean`, `.std` its input's.

    `shaping` are the further fields: `seed`, `stem`, `epochs`, `recipe`, `weights`. A `trained` victim comes from the
    cache or is trained in place. VictimError where it cannot be had.

    >>> load_victim("lenet_dlg", image_size=16).state
    'untrained'
    """
    spec = victims.checked_spec(model, state, **shaping)
    return victims.load_victim(spec, create_dataset(dataset, image_size, download=download), download=download)


def load_leak(path: str | Path) -> Leak:
    """A leak file (docs/leak-file.md): gradients, batch size, what was granted. LeakError in one line."""
    return read_leak(Path(path))
