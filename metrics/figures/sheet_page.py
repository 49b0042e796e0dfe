"""The page of a contact sheet, measured in inches: its format by the width that is asked for, and what is put on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gradinv.metrics.figures.presentation import current, is_narrow, width_asked, wrapped
from gradinv.metrics.figures.style import DARK_GREY, PRINTED

# Inches. 160 dots at 150 dpi: pictures of 16, 32, 80 or 160 pixels are enlarged evenly.
_PICTURE = 160 / 150
_STEP = 32 / PRINTED
"""Pictures of a width that is asked for are so many inches, times a whole number: those of 32 pixels are even."""
_LEAST = 5 * _STEP
_WORDS, _MARGIN = 1.9, 0.12
_PAGE, _HEADED = 9.0, 1.2
"""Inches of a paper's page from top to bottom, and of a sheet's words above and below its rows."""


@dataclass(frozen=True)
class SheetFormat:
    """Inches and sizes of type (points) of a sheet with room for `columns` pictures in a row.

    `words` are what a row's name takes, of at most `letters` in a line; `gap` lies between pictures. Values stand
    below each other where pictures are `stacked`: narrower than their values are in one line.
    """

    width: float
    columns: int
    words: float
    letters: int
    picture: float
    gap: float
    heading: float
    label: float
    caption: float
    stacked: bool

    def joined(self, values: Sequence[str], mark: str) -> str:
        """Values beneath a picture, with that mark between them or a line for each."""
        return ("\n" if self.stacked else mark).join(values)

    def beneath(self, lines: int) -> float:
        """Inches of so many lines beneath a picture, with the distance to the next row."""
        return 0.12 + 1.2 * self.caption * lines / 72

    @property
    def rows_on_a_page(self) -> int:
        """Rows of two lines of values that fit a page of a paper."""
        return int((_PAGE - _HEADED) / (self.picture + self.beneath(2)))


class Place(NamedTuple):
    """A picture (3, H, W; uint8) with what is said beneath it; without, why it is missing."""

    picture: np.ndarray | None
    caption: str
    missing: str


class SheetRow(NamedTuple):
    """A row of pictures with its name; a control's is not bold."""

    label: str
    is_bold: bool
    places: Sequence[Place]


class Corner(NamedTuple):
    """The upper left corner of a picture, in inches from the lower left one of the page."""

    left: float
    top: float


def sheet_format(images: int) -> SheetFormat:
    """The format of a sheet of so many images, in the width that is asked for: words keep their size in any."""
    asked = width_asked()
    if asked is None:
        gap = 0.18
        # Four columns at least, else the heading would become a tower.
        width = _MARGIN + _WORDS + (_PICTURE + gap) * max(images, 4)
        return SheetFormat(width, images, _WORDS, 24, _PICTURE, gap, heading=8.5, label=8, caption=7, stacked=False)
    words = min(0.9 if is_narrow() else 1.35, asked / 3)
    room, gap = asked - 1.3 * _MARGIN - words, 0.05
    columns = max(1, min(images, int((room + gap) / (_LEAST + gap) + 1e-9)))
    steps = max(1, int(((room + gap) / columns - gap) / _STEP + 1e-9))
    picture = min(_PICTURE, steps * _STEP)
    return SheetFormat(asked, columns, words, int(15 * words), picture, gap, heading=7, label=6.5, caption=6,
                       stacked=picture < 0.9)  # fmt: skip


def draw_page(form: SheetFormat, heading: Sequence[str], rows: Sequence[SheetRow], footer: Sequence[str]) -> Figure:
    """The sheet of these rows, its heading above where there are titles, its footer below."""
    head = _wrapped(heading, form.width, form.heading) if current().titles else []
    foot = _wrapped(footer, form.width, form.label)
    above = 1.4 * form.heading * (len(head) + 1) / 72 + 0.06 if head else _MARGIN
    heights = [form.picture + form.beneath(_lines(row)) for row in rows]
    height = above + sum(heights) + 1.4 * form.label * len(foot) / 72 + _MARGIN
    figure = Figure(figsize=(form.width, height))
    figure.set_label("\n".join(heading))
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    page.text(_MARGIN, height - _MARGIN, "\n".join(head), va="top", fontsize=form.heading, linespacing=1.4)
    for row, depth in zip(rows, np.cumsum([0.0, *heights[:-1]]), strict=True):
        _draw_row(page, form, row, height - above - depth)
    page.text(_MARGIN, _MARGIN, "\n".join(foot), va="bottom", fontsize=form.label, color=DARK_GREY, linespacing=1.4)
    page.set(xlim=(0, form.width), ylim=(0, height))  # the page is measured in inches
    return figure


def _lines(row: SheetRow) -> int:
    return max((place.caption.count("\n") + 1 for place in row.places), default=1)


def _wrapped(lines: Sequence[str], width: float, size: float) -> list[str]:
    """The lines, broken where they would leave a page of `width` inches in type of that size."""
    letters = int(115 * (width - 2 * _MARGIN) / size)  # wide ones included
    return [part for line in lines for part in wrapped(line, letters)]


def _draw_row(page: Axes, form: SheetFormat, row: SheetRow, top: float) -> None:
    weight = "bold" if row.is_bold else "normal"
    page.text(_MARGIN, top - form.picture / 2, row.label, va="center", fontsize=form.label, weight=weight)
    for column, place in enumerate(row.places):
        _draw_place(page, form, Corner(_MARGIN + form.words + (form.picture + form.gap) * column, top), place)


def _draw_place(page: Axes, form: SheetFormat, corner: Corner, place: Place) -> None:
    """One picture below its upper left corner, values beneath, or an empty frame with the reason in words."""
    side, (left, top) = form.picture, corner
    middle, bottom = left + side / 2, top - side
    if place.picture is None:
        page.add_patch(Rectangle((left, bottom), side, side, color="#f0f0f0"))
        page.text(middle, top - side / 2, place.missing, ha="center", va="center", fontsize=form.caption,
                  color=DARK_GREY)  # fmt: skip
    else:
        height, width = (side * pixels / max(place.picture.shape[1:]) for pixels in place.picture.shape[1:])
        extent = (middle - width / 2, middle + width / 2, top - (side + height) / 2, top - (side - height) / 2)
        # `equal`, matplotlib's default, would fit the axes of the whole page to each picture.
        page.imshow(place.picture.transpose(1, 2, 0), interpolation="nearest", extent=extent, aspect="auto")
    page.text(middle, bottom - 0.05, place.caption, ha="center", va="top", fontsize=form.caption)
