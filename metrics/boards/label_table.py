"""The board of label inference: what its columns mean, its rows from the results of single batches, its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.records import SETTING, Column, write_csv
from gradinv.metrics.statistics import bounded_interval, proportion

LABEL_SCHEMA = 2

_SHARE = ("share", 0, 1)
_UP = "higher"

_VICTIM = {
    **{name: SETTING[name] for name in ("dataset", "image_size", "victim", "victim_state", "victim_seed", "bn_mode")},
    "victim_accuracy": Column("share of held-out images that the victim gets right; empty: not measured", *_SHARE),
    "zero_gradient_share": Column("share of the parameters in tensors without any gradient", *_SHARE),
}
_RULE = {"rule": Column("rule of label inference, by key (attacks/label_rules)")}
_GRANTED = {
    "letter": Column("what the attacker has, in the taxonomy of Carletti et al. 2025: B no data, D auxiliary images"),
    "auxiliary": Column("auxiliary images granted, of which none is in a batch; empty: none"),
}
_SIZE = {
    "update": SETTING["update"],
    "batch_size": Column("images in one private batch", "count", 1),
    "max_equal_labels": SETTING["max_equal_labels"],
    "client_classes": Column("classes that a batch's images are of, drawn for each batch; empty: all", "count", 1),
    "num_classes": Column("classes of the data set", "count", 2),
}
_MEASURED = {
    "n_batches": Column("private batches, repetitions 0 to n - 1: the n of every interval", "count", 1),
    "accuracy_mean": Column("share of a batch's labels that the rule found: mean over batches", *_SHARE, _UP),
    "accuracy_low": Column("lower 95 % bound of that mean, over batches", *_SHARE, _UP),
    "accuracy_high": Column("upper 95 % bound of that mean, over batches", *_SHARE, _UP),
    "all_correct_mean": Column("share of the batches of which every label was found", *_SHARE, _UP),
    "all_correct_low": Column("lower 95 % bound of that share (Clopper and Pearson 1934)", *_SHARE, _UP),
    "all_correct_high": Column("upper 95 % bound of that share (Clopper and Pearson 1934)", *_SHARE, _UP),
    "n_unanswered": Column("batches for which the rule gave no answer; they count as 0", "count", 0),
    "chance": Column("what B different classes guessed at random get; empty where labels may be equal", *_SHARE),
}
_ORIGIN = {
    "data_hash": Column("first 16 digits of the hash of the evaluation images and labels"),
    "weights_hash": Column("hash of the victim's weights"),
    "device": Column("device that computed the gradients"),
    "versions": Column("versions of what was installed"),
    "date": Column("day of the row's latest batch", "YYYY-MM-DD"),
    "notes": Column("what the rule assumes and does not hold; of a row without a measurement, why it was skipped"),
    "schema": Column("version of this table of columns", "count", 1, LABEL_SCHEMA),
}
LABEL_COLUMNS = {**_RULE, **_GRANTED, **_VICTIM, **_SIZE, **_MEASURED, **_ORIGIN}

LABEL_BATCH_COLUMNS = {
    **_RULE,
    **{name: SETTING[name] for name in ("victim", "victim_state", "victim_seed")},
    **{name: _SIZE[name] for name in ("update", "batch_size", "max_equal_labels", "client_classes")},
    "batch": Column("repetition: the same number is the same draw in every row of one data set", "count", 0),
    "accuracy": Column("share of the batch's labels that the rule found", *_SHARE, _UP),
}


@dataclass(frozen=True)
class LabelCell:
    """One row: a rule against a victim at a batch size; `accuracies` holds each batch's share of labels found.

    Repetition r is entry r; there are none where the rule is impossible, and `skipped` says why. `victim_accuracy` and
    `zero_gradient_share` are None where nobody measured them, `client_classes` where it is all of them.
    """

    rule: str
    dataset: str
    image_size: ImageSize
    victim: str
    victim_state: str
    victim_seed: int
    victim_accuracy: float | None
    zero_gradient_share: float | None
    batch_size: int
    num_classes: int
    accuracies: tuple[float, ...]
    data_hash: str
    weights_hash: str
    device: str
    versions: str
    date: str
    bn_mode: str = "eval"
    update: str = "gradient"
    max_equal_labels: int = 1
    client_classes: int | None = None
    letter: str = "B"
    auxiliary: str = ""
    unanswered: int = 0
    notes: str = ""
    skipped: str = ""


def label_board(cells: Sequence[LabelCell]) -> pd.DataFrame:
    """One row per cell, in their order, columns as in `LABEL_COLUMNS`."""
    rows = [vars(cell) | _measured(cell) | {"schema": LABEL_SCHEMA} for cell in cells]
    # A type that has whole numbers and none: as floats, 10 classes would stand as 10.0.
    return pd.DataFrame(rows, columns=list(LABEL_COLUMNS)).astype({"client_classes": "Int64"})


def label_batches(cells: Sequence[LabelCell]) -> pd.DataFrame:
    """One row per cell and batch, columns as in `LABEL_BATCH_COLUMNS`."""
    rows = [
        vars(cell) | {"batch": batch, "accuracy": accuracy}
        for cell in cells
        for batch, accuracy in enumerate(cell.accuracies)
    ]
    return pd.DataFrame(rows, columns=list(LABEL_BATCH_COLUMNS)).astype({"client_classes": "Int64"})


def write_label_boards(cells: Sequence[LabelCell], out_dir: Path) -> tuple[Path, Path]:
    """Write `labels.csv` and `labels.batches.csv` into `out_dir`, each whole or not at all; returns their paths."""
    board, batches = out_dir / "labels.csv", out_dir / "labels.batches.csv"
    return write_csv(label_board(cells), board), write_csv(label_batches(cells), batches)


def _measured(cell: LabelCell) -> dict[str, Any]:
    values = np.asarray(cell.accuracies)
    row: dict[str, Any] = {"n_batches": len(values)}
    if cell.max_equal_labels == 1:
        row["chance"] = min(1.0, cell.batch_size / cell.num_classes)
    if cell.skipped:
        return row | {"notes": f"skipped: {cell.skipped}"}
    row["n_unanswered"] = cell.unanswered
    # Every batch is right or is not: that is a proportion, whose interval has a width even where all are right.
    right = int((values == 1).sum())
    intervals = {"accuracy": bounded_interval(values, 0, 1), "all_correct": proportion(right, len(values))}
    for name, bounds in intervals.items():
        row |= {f"{name}_mean": bounds.mean, f"{name}_low": bounds.low, f"{name}_high": bounds.high}
    return row
