"""Data sets by name: registered ones and image folders under the data root; listing their names imports no torch.

A stranger imports `create_dataset`, `dataset_names`, `register_dataset` and `DataError` from this package, `Dataset`
and `Split` from `base`, `draw_batch` from `batches`. A new data set is one file that registers a function.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradinv.benchmark.machine import data_root
from gradinv.metrics.registry import Registry, RequestError, UnknownNameError, natural_key, unknown

if TYPE_CHECKING:
    from gradinv.benchmark.datasets.base import Dataset

HELD_OUT_FOLDERS = ("test", "val")


class DataError(RequestError):
    """Data that are missing, malformed or too few; its text is one line that says what is wrong and how to mend it."""


DATASETS: Registry[Callable[..., "Dataset"]] = Registry(
    "data set", package="gradinv.benchmark.datasets", decorator="register_dataset", group="gradinv.datasets"
)


def register_dataset(name: str, **metadata: Any) -> Callable[[Callable[..., "Dataset"]], Callable[..., "Dataset"]]:
    """Decorator for a function `(image_size: int | None, *, download: bool) -> Dataset`.

    Raises InvalidEntryError where another function has the name.
    """
    return DATASETS.register(name, **metadata)


def folder_names() -> list[str]:
    """Names of the image folders under the data root: those that hold a `test` or `val` folder."""
    root = data_root()
    if not root.is_dir():
        return []
    folders = (path for path in root.iterdir() if any((path / split).is_dir() for split in HELD_OUT_FOLDERS))
    return sorted((path.name for path in folders), key=natural_key)


def dataset_names() -> list[str]:
    """Registered data sets and image folders under the data root, in natural order."""
    return sorted({*DATASETS.names(), *folder_names()}, key=natural_key)


def create_dataset(name: str, image_size: int | None = None, *, download: bool = False) -> "Dataset":
    """The data set of that name, its images (image_size, image_size), or of their own size where that is None.

    A registered name goes before an image folder of the same name. Nothing is downloaded unless `download` is set.
    Raises UnknownNameError with the nearest names, DataError where files are missing or malformed.
    """
    if name in DATASETS.names():
        return DATASETS.get(name).target(image_size, download=download)
    if name in folder_names():
        # Imported when it is needed: whoever only lists names does not wait for torch.
        from gradinv.benchmark.datasets.folder import folder_dataset

        return folder_dataset(data_root() / name, image_size)
    reason = unknown("data set", name, dataset_names())
    raise UnknownNameError(f"{reason} (image folders are looked for in {data_root()}; set GRADINV_DATA)")
