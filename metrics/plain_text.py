"""Text from elsewhere as it may be shown: without control characters, in one line, of bounded length, no formula."""

import re
import unicodedata

LONGEST = 80
"""Characters of a name that somebody typed or a file holds, where a message repeats it."""
LONGEST_LINE = 2_000

# With quotes before it, so that what was quoted already is quoted once more and `from_cell` gives it back.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_QUOTED = re.compile(r"'('*[=+\-@\t\r])")


def plain(text: str) -> str:
    r"""The text with each control character as its escape, so that it can turn no terminal's colours or lines.

    Line ends and tabs stay; what turns the direction of writing is escaped too.

    >>> print(plain("\x1b[31mred"))
    \x1b[31mred
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    # Control characters, those of format, which turn the direction of writing, and halves of surrogates.
    is_control = unicodedata.category(character) in ("Cc", "Cf", "Cs")
    return repr(character)[1:-1] if is_control and character not in "\n\t" else character


def one_line(text: str) -> str:
    r"""The text as one line: line ends and tabs as their escapes too, cut where it is longer than any sentence.

    >>> print(one_line("no file a\nb"))
    no file a\nb
    """
    line = plain(text).replace("\n", r"\n").replace("\t", r"\t")
    return cut(line, LONGEST_LINE)


def cut(text: str, length: int = LONGEST) -> str:
    """The text, its middle left out where it is longer than `length`.

    >>> cut("a" * 50 + "b" * 50, 11)
    'aaaaa…bbbbb'
    """
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def no_formula(text: str) -> str:
    """The text as a cell that no spreadsheet runs: with a quote before what would begin a formula and is no number.

    >>> no_formula("=1+1"), no_formula("plain"), no_formula("-1.5")
    ("'=1+1", 'plain', '-1.5')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """What `no_formula` was given.

    >>> from_cell(no_formula("=1+1")), from_cell(no_formula("'=1+1")), from_cell("'quoted'")
    ('=1+1', "'=1+1", "'quoted'")
    """
    return _QUOTED.sub(r"\1", text, count=1) if _QUOTED.match(text) else text
