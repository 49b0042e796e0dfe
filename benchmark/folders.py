"""Where data sets and cached victims lie on this machine."""

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
