"""Fixtures for the experiment's tests: tiny data sets, and caches and data roots of their own."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmark.datasets.base import ArraySplit, Dataset, held_out_loaders


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch) -> None:
    """No test reads or writes the user's data or cache."""
    monkeypatch.setenv("GRADINV_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """Makes a data set in memory: each class is noise about its own colour, (size, size)."""

    def make(*, classes: int = 4, train: int = 32, held_out: int = 6, size: int = 16, name: str = "tiny") -> Dataset:
        def split(count: int, seed: int) -> ArraySplit:
            random = np.random.RandomState(seed)
            labels = np.repeat(np.arange(classes), count)
            colours = np.random.RandomState(0).randint(40, 216, (classes, 1, 1, 3))
            noise = random.randint(-40, 40, (len(labels), size, size, 3))
            return ArraySplit((colours[labels] + noise).astype(np.uint8), labels)

        loaders = held_out_loaders(lambda: split(held_out, 2))
        if train:
            loaders["train"] = lambda: split(train, 1)
        return Dataset(name, [f"class{index}" for index in range(classes)], size, loaders)

    return make
