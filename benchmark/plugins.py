"""What `--plugin` takes: a Python file that registers entries, or a preset file that `gradinv tune` wrote."""

from pathlib import Path

from gradinv.metrics.registry import load_plugin as load_python

PRESET_SUFFIXES = (".yaml", ".yml")


def load_plugin(path: Path) -> None:
    """Register what the file holds; InvalidEntryError in one line where it is neither."""
    if path.suffix in PRESET_SUFFIXES:
        # Here, because whoever loads a Python file needs none of what reads a preset.
        from gradinv.benchmark.tuning import load_preset

        load_preset(path)
    else:
        load_python(path)
