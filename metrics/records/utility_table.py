"""The table of `gradinv utility`, which lies beside the trials: what a training with each defense comes to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradinv.metrics.records.record import Cell

UTILITY_TABLE = "utility.csv"
"""Its name in a run directory."""
_PLACE = ("dataset", "image_size", "victim", "victim_seed")

Place = tuple[str, ...]
"""What the table and the trials of a setting have in common: data set, image size, victim and seed."""
Prices = Mapping[Place, Mapping[str, Mapping[str, Any]]]
"""Place -> defense -> its row."""


def utility_place(setting: Mapping[str, Any] | Cell) -> Place:
    """The place of a cell or of a setting."""
    fields = setting.model_dump() if isinstance(setting, Cell) else setting
    return tuple(str(fields[name]) for name in _PLACE)


def read_prices(runs: Sequence[Path]) -> Prices:
    """The rows of all tables that lie in these run directories; nothing where there is none."""
    prices: dict[Place, dict[str, Mapping[str, Any]]] = {}
    paths = [run / UTILITY_TABLE for run in runs if (run / UTILITY_TABLE).is_file()]
    # As words, so that empty notes are no numbers.
    for table in (pd.read_csv(path, dtype={"notes": "string"}) for path in paths):
        for row in table.fillna({"notes": ""}).to_dict("records"):
            named = {str(name): value for name, value in row.items()}
            prices.setdefault(utility_place(named), {})[str(named["defense"])] = named
    return prices
