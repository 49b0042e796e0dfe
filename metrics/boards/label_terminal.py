"""The board of label inference as a table on the terminal."""

from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from gradinv.metrics.typesetting import with_interval

_HEADINGS = ("rule", "victim", "B", "n", "labels found %", "all found %", "chance %")


def print_label_board(frame: pd.DataFrame, console: Console) -> None:
    """Print a board as `label_board.label_board` makes it: means with their 95 % intervals, in per cent."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("rule", "victim") else "right", no_wrap=True)
    for row in frame.to_dict("records"):
        table.add_row(
            row["rule"],
            f"{row['victim']} ({row['victim_state']})",
            str(row["batch_size"]),
            str(row["n_batches"]),
            _per_cent(row, "accuracy"),
            _per_cent(row, "all_correct"),
            f"{100 * row['chance']:.1f}",
        )
    # Keys hold brackets, which rich would read as markup.
    console.print(table, markup=False, highlight=False)


def _per_cent(row: dict[Any, Any], name: str) -> str:
    """Without the sign, which stands in the heading."""
    mean, low, high = (100 * row[f"{name}_{part}"] for part in ("mean", "low", "high"))
    return with_interval(mean, low, high, 2)
