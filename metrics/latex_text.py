"""Text for LaTeX: anything as LaTeX prints it, and how wide a table of it is."""

import re
from collections.abc import Sequence
from itertools import zip_longest

# The last ones are no commands, but LaTeX's default font encoding prints other characters for them, or none.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
}
PAGE_WIDTH = 469
"""Points of both columns of `article`, the narrowest page of two columns in use; IEEE's has 516."""
SEPARATION = 3
"""Points on either side of a column."""
_SPAN = r"\multicolumn{2}{c}"
_LETTER, _TINY, _BLANK = 4.1, 2.95, 2.8  # points: of \footnotesize and \tiny, where the text has ten points


def escape(text: str) -> str:
    r"""The text as LaTeX prints it, whatever it holds; white space of any kind becomes a blank.

    >>> escape("a_b & 50 %")
    'a\\_b \\& 50 \\%'
    """
    return "".join(_ESCAPES.get(character, character) for character in flat(text))


def flat(text: str) -> str:
    """One line of printable characters: what would end a comment or stop LaTeX becomes a blank."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def stacked(lines: Sequence[str]) -> str:
    r"""A cell of several lines: a table in it, for a cell itself cannot break its line.

    >>> stacked(["a"]), stacked(["a", "[b]"])
    ('a', '\\begin{tabular}[t]{@{}l@{}}a\\\\{}[b]\\end{tabular}')
    """
    # A bracket or a star at the beginning would be taken for an argument of the command that ends the line before.
    inner = r"\\".join("{}" + line if line.startswith(("[", "*")) else line for line in lines)
    return inner if len(lines) == 1 else rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{inner}\end{{tabular}}"


def points(rows: Sequence[str], pairs: int) -> float:
    """How wide a table of these rows is, in points, to a tenth or so; `pairs` of its columns have a blank between them.

    A cell that spans columns spans two of them, a pair.
    """
    cells = [re.split(r"(?<!\\)&", row.removesuffix(r" \\")) for row in rows if "&" in row]
    columns = zip_longest(*(row for row in cells if r"\multicolumn" not in "".join(row)), fillvalue="")
    widths = [max(map(_wide, column)) for column in columns]
    for row in cells:
        place = 0
        for cell in row:
            if _SPAN in cell:
                # What a heading needs beyond its pair makes the pair wider.
                needed = _wide(cell.replace(_SPAN, "")) - _BLANK - widths[place]
                widths[place + 1] = max(widths[place + 1], needed)
            place += 2 if _SPAN in cell else 1
    return sum(widths) + 2 * SEPARATION * (len(widths) - 1 - pairs) + _BLANK * pairs


def _wide(cell: str) -> float:
    letter = _TINY if r"\tiny" in cell else _LETTER
    # Of a cell of several lines the longest; commands take no room, and what they escape is one letter.
    lines = re.sub(r"\\(begin|end)\{tabular\}(\[t\]\{@\{\}l@\{\}\})?", "", cell).split(r"\\")
    return letter * max(len(re.sub(r"\\[a-z]+\*?|[{}$^\\]", "", line).strip()) for line in lines)
