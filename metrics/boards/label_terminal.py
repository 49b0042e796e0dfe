"""The board of label inference as a table on the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from gradinv.metrics.typesetting import with_interval

LABEL_SETTING = ["victim", "victim_state", "victim_seed", "update", "max_equal_labels", "client_classes"]
"""The columns of the board that say what a rule was tried on."""
_HEADINGS = ("rule", "B", "n", "labels found %", "all found %", "chance %")


def print_label_board(frame: pd.DataFrame, console: Console) -> None:
    """Print a board as `label_board.label_board` makes it: means with their 95 % intervals, in per cent.

    A table for each setting, and below them what was skipped and why.
    """
    for _, rows in frame[frame["n_batches"] > 0].groupby(LABEL_SETTING, sort=False, dropna=False):
        # Keys hold brackets, which rich would read as markup.
        console.print(title_of_setting(rows), markup=False, highlight=False)
        console.print(_table(rows), markup=False, highlight=False)
    for line in _skipped(frame[frame["n_batches"] == 0]):
        console.print(line, markup=False, highlight=False)


def title_of_setting(rows: pd.DataFrame) -> str:
    """What the rows of one setting were tried on, in a line: `resnet18 (trained), labels distinct`."""
    first = rows.to_dict("records")[0]
    sent = "" if first["update"] == "gradient" else f", {first['update']}"
    return f"{first['victim']} ({first['victim_state']}), labels {how_labels_repeat(first)}{sent}"


def _table(rows: pd.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "rule" else "right", no_wrap=True)
    for row in rows.to_dict("records"):
        table.add_row(
            row["rule"],
            str(row["batch_size"]),
            str(row["n_batches"]),
            _per_cent(row, "accuracy"),
            _per_cent(row, "all_correct"),
            "" if pd.isna(row["chance"]) else f"{100 * row['chance']:.1f}",
        )
    return table


def how_labels_repeat(row: Mapping[Any, Any]) -> str:
    """How labels of a batch are drawn in a row of the board, in a few words.

    >>> how_labels_repeat({"max_equal_labels": 8, "client_classes": 10})
    'up to 8 equal, of 10 classes'
    """
    equal = int(row["max_equal_labels"])
    drawn = "distinct" if equal == 1 else f"up to {equal} equal"
    return drawn if pd.isna(row["client_classes"]) else f"{drawn}, of {int(row['client_classes'])} classes"


def _skipped(frame: pd.DataFrame) -> Iterator[str]:
    """A line for each rule and reason, with the batch sizes it holds for."""
    # Batches of every size may lack the same thing: no line for each.
    for (rule, notes), rows in frame.groupby(["rule", "notes"], sort=False):
        sizes = ", ".join(map(str, dict.fromkeys(rows["batch_size"])))
        yield f"{rule} (B = {sizes}): {notes}"


def _per_cent(row: dict[Any, Any], name: str) -> str:
    """Without the sign, which stands in the heading."""
    mean, low, high = (100 * row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    return with_interval(mean, low, high, 2)
