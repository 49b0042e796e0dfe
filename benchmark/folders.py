"""What this machine offers: where data sets and cached victims lie, and how many cores there are."""

import os
from pathlib import Path


def cache_root() -> Path:
    """`$GRADINV_CACHE`, or `gradinv` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    chosen = os.environ.get("GRADINV_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gradinv"


def data_root() -> Path:
    """`$GRADINV_DATA`, or `data` in `cache_root()`."""
    chosen = os.environ.get("GRADINV_DATA")
    return Path(chosen).expanduser() if chosen else cache_root() / "data"


def usable_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
