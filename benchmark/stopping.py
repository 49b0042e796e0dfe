"""What ends the command or a trial from outside: Ctrl-C, SIGTERM, and the time that a trial may take."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Somebody ends the command; not an Exception, so that no attack and no library takes it for a fault of its own."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number
        """Exit status as shells report it, so that no script takes a stopped run for a finished one."""


class TrialTimeout(BaseException):
    """A trial has taken longer than it may; not an Exception, for an attack may catch those."""


def watch_signals() -> None:
    """From now on SIGINT and SIGTERM raise Stopped; a second one ends the process, its workers too, without a word."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def leave_at_next_signal() -> None:
    """From now on either ends the process at once, without a word: nothing is left to be wound up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _stop(number: int, frame: FrameType | None) -> None:
    leave_at_next_signal()
    raise Stopped(number)


def _leave(number: int, frame: FrameType | None) -> None:
    # Whoever asks twice will not wait for anything to be wound up. Records are whole or not there at all.
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(128 + number)


def is_from_outside(error: BaseException) -> bool:
    """Whether an exception ends the command, and is nothing that the code which was running raised."""
    # With Python's own handler nobody can tell who raised a KeyboardInterrupt; where ours is watching, it was no user.
    unwatched = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, Stopped) or (isinstance(error, KeyboardInterrupt) and unwatched)


HAS_ALARM = hasattr(signal, "SIGALRM")
"""Whether the system can interrupt a trial in its own process; Windows cannot."""


@contextmanager
def time_limit(seconds: float | None, reason: str) -> Iterator[None]:
    """TrialTimeout in the block after so many seconds, as soon as Python code runs; never without an alarm."""
    if seconds is None or not HAS_ALARM:
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise TrialTimeout(reason)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
