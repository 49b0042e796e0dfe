"""Who names the original: its rank among the pool, image by image, for each attack and control, under each judge."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, is_narrow, look_of, name_of, panels_in_a_row
from gradinv.metrics.figures.skeleton import Drawing, Scene, scenes
from gradinv.metrics.figures.style import DARK_GREY, GREY
from gradinv.metrics.images import rank_of
from gradinv.metrics.records import Record, granted

POOL = "identity_pool"
_SPREAD = 0.6
"""Of the distance of two rows: how far the images of one lie apart."""


def rank_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `ranks-*` for each setting whose originals were ranked, as PNG, PDF and CSV: one point for each image."""
    for scene in scenes(records, lambda trial: trial.is_scored and bool(trial.judges), lacks="has no ranks"):
        table = pd.DataFrame([row for cell in scene.trials for row in _rows(scene, cell)])
        if not table.empty:
            yield Drawing(f"ranks-{scene.name}", partial(_figure, scene, table), table)


def _rows(scene: Scene, cell: Any) -> Iterator[dict[str, Any]]:
    for trial in scene.trials[cell]:
        for score in trial.images:
            pool = score.details.get(POOL)
            for judge in trial.judges:
                if pool is None or judge not in score.metrics:
                    continue
                yield {
                    "key": cell.key,
                    "is_control": cell.is_control,
                    "judge": judge,
                    "batch": trial.repetition,
                    "slot": score.slot,
                    "rank": rank_of(score.metrics[judge], pool),
                    "pool": int(pool),
                }


def _figure(scene: Scene, table: pd.DataFrame) -> Figure:
    judges, keys = list(dict.fromkeys(table["judge"])), _by_attack(list(dict.fromkeys(table["key"])))
    lines = max(_name(key).count("\n") + 1 for key in keys)
    columns = panels_in_a_row(len(judges), 1.6, beside=1.2)
    rows = -(-len(judges) // columns)
    figure = canvas(7.5, 0.6 + rows * (0.7 + max(0.33, 0.13 * lines) * len(keys)), lowest=1.0)
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axis in axes[len(judges) :]:
        axis.set_visible(False)
    for axis, judge in zip(axes, judges, strict=False):
        _panel(axis, table[table["judge"] == judge], keys)
        axis.set_title(judge.removeprefix("identity_"))
    head(
        figure,
        f"Does the picture name its original?\n{scene.title}\n{granted(scene.setting)}\n"
        "One point an image, a bar at the median; dashed: chance. Controls in grey.",
        scene.absent,
    )
    return figure


def _by_attack(keys: Sequence[str]) -> list[str]:
    """Each attack with its own controls below it; a control of all is of none."""
    # An attack that failed in every trial has controls all the same, where those are spared its gradient.
    heads = dict.fromkeys(key.partition(" of ")[2] or key for key in keys)
    groups = ((head, *(key for key in keys if key.endswith(f" of {head}"))) for head in heads)
    return [name for group in groups for name in group if name in keys]


def _panel(axis: Axes, table: pd.DataFrame, keys: Sequence[str]) -> None:
    pool = table["pool"].max()
    for place, key in enumerate(keys):
        rows = table[table["key"] == key]
        if rows.empty:
            continue
        is_control = bool(rows["is_control"].iloc[0])
        color = GREY if is_control else look_of(key).color
        steps = [_SPREAD * ((index + 0.5) / len(rows) - 0.5) for index in range(len(rows))]
        axis.plot(rows["rank"], [place + step for step in steps], ".", color=color, markersize=4)
        median = rows["rank"].median()
        axis.plot([median, median], [place - 0.4, place + 0.4], color=color, linewidth=2.5)
    axis.axvline((pool + 1) / 2, color=DARK_GREY, linestyle="--", linewidth=1)
    words = "rank among " if is_narrow() else "rank of the original among "
    # A logarithmic axis has no zero, and rank 1 must not lie on the frame.
    axis.set(xscale="log", xlim=(0.8, pool * 1.25), xlabel=f"{words}{pool:,}")
    axis.set_yticks(range(len(keys)), [_name(key) for key in keys], fontsize=6.5 if is_narrow() else None)
    axis.set_ylim(len(keys) - 0.5, -0.5)


def _name(key: str) -> str:
    control, of, _ = key.partition(" of ")
    if is_narrow():  # there is no room to name the attack again, which stands above
        return f"its {control}" if of else name_of(key, 24)
    return name_of(key, 30)
