"""Small panels, one for each attack and batch size, in as many rows and on as many pages as a paper has room for."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from gradinv.metrics.figures.presentation import canvas, is_narrow, name_of, panels_in_a_row, width_asked

ATTACKS_PER_FIGURE = 6
_WIDTH, _ROW, _PAGE = 2.3, 1.45, 7.4
"""Inches of a panel in a paper, of a row of panels there, and of a page without the words above and below panels."""
_LETTERS_PER_INCH, _BESIDE = 18, 0.6
"""Of a panel's heading in print, and inches beside a panel, which its axis takes."""


def attacks_on_a_page(sizes: int) -> int:
    """How many attacks with panels for so many batch sizes one figure shows."""
    if width_asked() is None:
        return ATTACKS_PER_FIGURE
    return max(1, min(ATTACKS_PER_FIGURE, int(_PAGE / (_ROW * _rows(sizes)))))


def _rows(sizes: int) -> int:
    return -(-sizes // panels_in_a_row(sizes, _WIDTH))


def small_panels(
    keys: Sequence[str], sizes: Sequence[int], height: float
) -> tuple[Figure, dict[tuple[str, int], Axes]]:
    """A figure with a named panel for each attack and batch size, `height` inches each where no width is asked for."""
    columns = panels_in_a_row(len(sizes), _WIDTH)
    rows = _rows(len(sizes)) * len(keys)
    if width_asked() is None:
        figure = canvas(max(7.5, 3.4 * columns), 1.5 + height * rows)
    else:
        lines = max(_heading(key, sizes[0], columns).count("\n") for key in keys)
        figure = canvas(2.3 * columns, 1.2 + (_ROW + 0.11 * lines) * rows, lowest=1.0)
    grid = figure.subplots(rows, columns, squeeze=False).reshape(len(keys), -1)
    for axis in grid[:, len(sizes) :].flat:
        axis.remove()
    panels = {(key, size): axis for key, row in zip(keys, grid, strict=True) for size, axis in zip(sizes, row)}  # noqa: B905
    for (key, size), axis in panels.items():
        axis.set_title(_heading(key, size, columns), loc="left", fontsize=7 if is_narrow() else 8)
        place = axis.get_subplotspec()
        if place is not None and place.is_last_row():
            axis.set_xlabel("evaluations")
    return figure, panels


def _heading(key: str, size: int, columns: int) -> str:
    asked = width_asked()
    if asked is None:
        return f"{name_of(key, 36)}, batch size {size}"
    letters = max(12, int(_LETTERS_PER_INCH * (asked / columns - _BESIDE)))
    return f"{name_of(key, letters)}\nbatch size {size}"


def name_first_column(panels: dict[tuple[str, int], Axes], label: str) -> None:
    """Name the vertical axis of the panels that stand first in a row."""
    for axis in panels.values():
        place = axis.get_subplotspec()
        if place is not None and place.is_first_col():
            axis.set_ylabel(label)


def few_ticks(axis: Axes) -> None:
    """Few numbers on a logarithmic vertical axis: in a low panel those between powers of ten lie over each other."""
    low, high = axis.get_ylim()
    axis.yaxis.set_minor_formatter(NullFormatter())
    if high < 10 * low:
        axis.yaxis.set_major_locator(MaxNLocator(3))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%.2g"))
    else:
        axis.yaxis.set_major_locator(LogLocator(numticks=5))
