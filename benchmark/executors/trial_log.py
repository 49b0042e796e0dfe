"""What is said while a trial runs, kept beside its record and passed on as it comes."""

import sys
from io import TextIOBase
from types import TracebackType
from typing import TextIO

LONGEST = 1_000_000
"""Characters that are kept of one job; what comes after them is passed on alone."""


class TrialLog:
    """A block in which whatever is printed to stdout and stderr is also kept, warnings among it.

    What C libraries write, and what is said by a process that then dies, is not seen.

    >>> with TrialLog() as log:
    ...     print("step 1")
    step 1
    >>> log.text
    'step 1\\n'
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = LONGEST
        self._streams: tuple[TextIO, TextIO] | None = None

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

    def __enter__(self) -> "TrialLog":
        self._streams = sys.stdout, sys.stderr
        # Both into one text: a warning means little without the line that was printed before it.
        sys.stdout, sys.stderr = _Copying(sys.stdout, self), _Copying(sys.stderr, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams


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
