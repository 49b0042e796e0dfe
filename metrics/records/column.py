"""A column of a published table: what it means, its unit, its range, which values are better."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """One column, all values in [`low`, `high`]; `direction` is `higher` or `lower` where one of them is better.

    `unit` also decides how a value is stored: `text`, `YYYY-MM-DD` and `true/false` as words, `count` as an integer,
    `px` as one or as an `ImageSize` of two, anything else as a number. `default` is what a table
    holds that was published before the column came; None for a column that every table has.
    """

    meaning: str
    unit: str = "text"
    low: float = -math.inf
    high: float = math.inf
    direction: str = ""
    default: Any = None

    @property
    def range(self) -> str:
        """The range in words; empty where there is none to state.

        >>> Column("share", "1", 0, 1).range, Column("seed", "count", 0).range, Column("name").range
        ('0 to 1', '≥ 0', '')
        """
        if math.isinf(self.high):
            return "" if math.isinf(self.low) else f"≥ {self.low:g}"
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.unit not in ("text", "true/false", "YYYY-MM-DD")

    @property
    def is_integer(self) -> bool:
        """Whether its values are whole numbers."""
        return self.unit in ("count", "px")
