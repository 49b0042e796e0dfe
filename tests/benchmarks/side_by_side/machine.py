"""Where and how time is measured: the machine in one line, one thread, and the clock of a device."""

import os
import platform
import time
from pathlib import Path

import torch

# What the runner sets by mallopt in its own processes: freed blocks stay with the process instead of being unmapped
# and mapped again, page by page, in every iteration. glibc reads these when a process starts.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def describe_machine(device: str = "cpu") -> str:
    """Processor, cores, threads used, PyTorch and, for cuda, the GPU, in one line."""
    parts = [_processor(), f"{os.cpu_count()} cores", "1 thread", f"torch {torch.__version__}"]
    if torch.device(device).type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    return ", ".join(parts)


def _processor() -> str:
    """The processor's name as Linux knows it, elsewhere its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def now(device: torch.device) -> float:
    """Seconds so far: of processor time on the CPU, which neighbours hardly disturb; of wall clock on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()
