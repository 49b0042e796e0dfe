"""What is said while a trial runs, kept beside its record and passed on as it comes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import TextIO

LONGEST = 1_000_000
"""Characters that are kept of one job; what comes after them is passed on alone."""


class TrialLog:
    """What was printed to stdout and stderr in its blocks, warnings among it.

    What C libraries write, and what is said by a process that then dies, is not seen.

    >>> log = TrialLog()
    >>> with log.listening():
    ...     print("step 1")
    step 1
    >>> log.text
    'step 1\\n'
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = LONGEST

    @property
    def text(self) -> str:
        """All that was kept, in the order in which it was said."""
        return "".join(self._parts)

    def keep(self, text: str) -> None:
        """Note a piece of what is said, as far as there is room."""
        if self._room >= 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)
            if self._room < 0:  # once: from here on there is no room
                self._parts.append(f"\n[cut: more than {LONGEST:,} characters]\n")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A block in which what is printed is kept, and passed on as it comes."""
        # Both into one text: a warning means little without the line that was printed before it.
        with redirect_stdout(_Copying(sys.stdout, self)), redirect_stderr(_Copying(sys.stderr, self)):
            yield


class _Copying(TextIOBase):
    """A stream that hands everything on, and tells the log what was written."""

    def __init__(self, stream: TextIO, log: TrialLog) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        self._log.keep(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    # Asked by progress bars and debuggers, which have to behave as they would on the stream itself.
    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding
