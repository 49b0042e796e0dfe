"""What this machine offers: where data and victims lie, cores, and what makes a process that runs trials fast."""

import ctypes
import gc
import os
import sys
from pathlib import Path
from typing import Literal

from gradinv.metrics.registry import RequestError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Names of `mallopt`'s settings, from glibc's malloc.h."""

KEPT_BYTES = 2**31 - 1
LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""glibc refuses more on 64-bit machines."""


Device = Literal["auto", "cpu", "cuda"]


def resolve_device(device: Device) -> str:
    """The device that is meant, `auto`: CUDA where there is one; RequestError where there is none of the kind."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("--device cuda: torch sees no CUDA device here; take auto or cpu")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


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


def victims_root() -> Path:
    """Where trained victims are kept, for all runs: `victims` in `cache_root()`."""
    return cache_root() / "victims"


def autoencoders_root() -> Path:
    """Where trained autoencoders are kept, for all runs: `autoencoders` in `cache_root()`."""
    return cache_root() / "autoencoders"


def usable_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_process() -> None:
    """Prepare this process for running trials; call it before the first large allocation."""
    _keep_freed_memory()
    gc.freeze()  # what was imported stays: looking through it again and again takes a fifth of a second each time
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_root() / "compiled"))


def _keep_freed_memory() -> None:
    """Let glibc's malloc keep what is freed instead of giving it back to the system at once.

    An evaluation allocates and frees tensors of the network's size, again and again; to map fresh pages for them each
    time costs a fifth of a ResNet-18 evaluation. Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        # Setting any of these switches off glibc's own adaptation of the others, so that all three are set.
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TOP_PAD, 256 * 2**20)
