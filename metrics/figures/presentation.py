"""How the figures of a paper are presented: style, width, titles, names for display, one look an attack."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure

from gradinv.metrics.records import wrap_key
from gradinv.metrics.registry import RequestError

SHIPPED = Path(__file__).with_name("gradinv.mplstyle")
WIDTHS = {"column": 3.35, "page": 6.9}
"""Inches, in a paper of two columns."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_KEY_MARK, _KEY_LETTER = 0.5, 0.062
"""Inches of an entry's mark in a figure's key with the distance to the next entry, and of a letter of its words."""
_LETTERS_PER_INCH = 15
_NARROW = 5.0  # inches
_LINE = 0.16
"""Inches of a line of words."""
_NOBODY: Mapping[str, str] = {}
_LOWEST = 0.75
"""Of a figure's height, when it is made narrower: words do not shrink."""


class Look(NamedTuple):
    """Colour and marker of one attack; neither alone has to tell it apart."""

    color: str
    marker: str


@dataclass(frozen=True)
class Presentation:
    """What a paper asks of its figures.

    `style` is a matplotlib style that goes over gradinv's own; `width` is in inches, None: as suits the figure; without
    `titles` the words above a figure go to a file beside it. `names` are keys with their names for display; attacks
    have their looks in that order, the others in the order in which they are first drawn.
    """

    style: Path | None = None
    width: float | None = None
    titles: bool = True
    names: Mapping[str, str] = field(default_factory=dict)
    _looks: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._looks.update({key: index for index, key in enumerate(self.names)})
        if self.style is not None:
            _require_style(self.style)

    def place(self, key: str) -> int:
        """The number of an attack's look: the same in all figures of this presentation."""
        return self._looks.setdefault(key, len(self._looks))


def _require_style(path: Path) -> None:
    try:
        matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except OSError as error:
        raise RequestError(f"style {path} cannot be read ({error.strerror})") from error
    except Exception as error:  # matplotlib raises what it likes for a line that it does not understand
        raise RequestError(f"style {path} is no matplotlib style: {' '.join(str(error).split())[:200]}") from error


_CURRENT: ContextVar[Presentation] = ContextVar("presentation")


def current() -> Presentation:
    """The presentation that figures are drawn in now."""
    return _CURRENT.get(None) or Presentation()


def width_asked() -> float | None:
    """The width in inches that figures are drawn in; None: each as suits it."""
    return current().width


@contextmanager
def styled(presentation: Presentation) -> Iterator[None]:
    """Draw in this presentation, and leave everyone else's settings alone."""
    # From matplotlib's own defaults, not from the reader's matplotlibrc: the same records give the same bytes.
    styles: list[str | Path] = ["default", SHIPPED, *([presentation.style] if presentation.style else [])]
    before = _CURRENT.set(presentation)
    try:
        with matplotlib.style.context(styles):
            yield
    finally:
        _CURRENT.reset(before)


def look(index: int) -> Look:
    """Colour and marker of the attack of that index; gradinv's own pairs repeat after 63 attacks."""
    colours = matplotlib.rcParams["axes.prop_cycle"].by_key().get("color", ["black"])
    # Both go on with the index: 7 colours and 9 markers have no common factor, so that all 63 pairs come up.
    return Look(colours[index % len(colours)], _MARKERS[index % len(_MARKERS)])


def look_of(key: str) -> Look:
    """Colour and marker of an attack, the same in all figures that are drawn together."""
    return look(current().place(key))


def name_of(key: str, width: int = 1_000) -> str:
    """What an attack is called in figures: its name for display, else its key, broken at `width` characters."""
    control, of, attack = key.partition(" of ")
    names = current().names
    if of:
        return names.get(key) or f"{control} of {name_of(attack, width)}"
    if key not in names:
        return wrap_key(key, width)
    # A formula may hold blanks that are no places to break at.
    return names[key] if "$" in names[key] else textwrap.fill(names[key], width, break_long_words=False)


def canvas(width: float, height: float, *, lowest: float = _LOWEST) -> Figure:
    """A figure of so many inches, or of the width that is asked for and as high as suits that.

    `lowest` is the least share of its height that a narrow one keeps: 1 where every row of it has a name.
    """
    asked = width_asked()
    if asked is None:
        return Figure(figsize=(width, height), layout="constrained")
    return Figure(figsize=(asked, height * min(1.0, max(lowest, asked / width))), layout="constrained")


def panels_in_a_row(panels: int, width: float, *, beside: float = 0.0) -> int:
    """How many panels of so many inches stand side by side in the width that is asked for, `beside` names for all."""
    asked = width_asked()
    return panels if asked is None else max(1, min(panels, round((asked - beside) / (0.6 * width))))


def key_below(figure: Figure, handles: Iterable[Any], labels: Iterable[str], *, columns: int) -> None:
    """The key of a figure beneath its panels, in at most so many columns: fewer where it is narrow."""
    asked, words = width_asked(), list(labels)
    if not words:
        return
    fitting, natural = columns, -(-len(words) // columns)
    if asked is not None:
        words = ["\n".join(_broken(text, int((asked - _KEY_MARK) / _KEY_LETTER))) for text in words]
        longest = max((len(line) for text in words for line in text.splitlines()), default=0)
        fitting = max(1, min(columns, int(asked / (_KEY_MARK + _KEY_LETTER * longest))))
    # Filled column by column: the highest of them is what it takes.
    lines = [1 + text.count("\n") for text in words]
    rows = -(-len(words) // fitting)
    _grow(figure, max((sum(lines[start : start + rows]) for start in range(0, len(lines), rows)), default=0) - natural)
    figure.legend(list(handles), words, loc="outside lower center", ncols=fitting, columnspacing=1.2)


def _broken(text: str, letters: int) -> list[str]:
    """An entry of a key on lines of at most so many letters: words at their blanks, keys of entries at their parts."""
    if "$" in text:  # a formula, see `name_of`
        return [text]
    return wrapped(text, letters) if " " in text else wrap_key(text.replace("\n", ""), letters).splitlines()


def two_lines(first: str, second: str) -> str:
    """The name of an axis, on two lines where the figure is drawn for a paper: its panels are lower and narrower."""
    return f"{first}, {second}" if width_asked() is None else f"{first},\n{second}"


def is_narrow() -> bool:
    """Whether figures are drawn for a column of a paper: names beside or above panels then take two lines."""
    asked = width_asked()
    return asked is not None and asked < _NARROW


def head(figure: Figure, text: str, absent: Mapping[str, str] = _NOBODY) -> None:
    """The words above a figure, with what it leaves out and why; kept with it where there are no titles."""
    if absent:
        text += f"\nNot shown: {'; '.join(f'{name_of(key)} ({reason})' for key, reason in absent.items())}."
    figure.set_label(text)
    if not current().titles:
        return
    letters = int(_LETTERS_PER_INCH * figure.get_figwidth())
    lines = [part for line in text.splitlines() for part in wrapped(line, letters)]
    _grow(figure, len(lines) - len(text.splitlines()))
    figure.suptitle("\n".join(lines))


def wrapped(line: str, letters: int) -> list[str]:
    r"""A line of words on lines of at most so many letters; a dot between two of its parts ends a line and begins none.

    >>> wrapped("lenet_dlg (untrained) · photos 16 px · no defense", 38)
    ['lenet_dlg (untrained)\xa0· photos 16 px\xa0·', 'no defense']
    """
    return textwrap.wrap(line.replace(" · ", "\xa0· "), letters)


def _grow(figure: Figure, lines: int) -> None:
    """Make a figure higher by so many lines of words, which would else be taken from its panels."""
    figure.set_figheight(figure.get_figheight() + _LINE * lines)
