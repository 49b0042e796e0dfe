"""The suites that ship with gradinv; importing this file imports no torch, for the shell asks for their names."""

from pathlib import Path

SHIPPED = Path(__file__).parent.parent / "suites"


def suite_names() -> list[str]:
    """The suites that ship with gradinv."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))
