"""What all tests share: CUDA tests skip, with that reason, where there is no CUDA device; whole programs come first."""

import pytest
import torch

WHOLE_PROGRAMS = {"stories", "faults"}


def pytest_collection_modifyitems(items):
    # Two workers split what is left at the end, and a module that is split prepares twice: for these that is a minute.
    items.sort(key=lambda item: item.path.parent.name not in WHOLE_PROGRAMS)
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)
