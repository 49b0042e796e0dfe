"""Our attacks beside breaching's on the same problems: `python -m tests.benchmarks.side_by_side`, from the root."""
