"""The experiment: data -> victim -> client update (defended) -> leak -> attack -> metrics -> record."""

from importlib.util import find_spec
from pathlib import Path


class ShadowedPackageError(ImportError):
    """A folder or package that stands in front of one of ours."""


def _check_neighbours() -> None:
    """The three packages have common names: make sure that the other two are ours."""
    home = Path(__file__).resolve().parent.parent
    for name in ("attacks", "metrics"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found != home:
            raise ShadowedPackageError(
                f"gradinv's package {name!r} in {home} is shadowed by {found or 'a folder of that name'}; "
                f"run from another directory, or rename that folder"
            )


_check_neighbours()
