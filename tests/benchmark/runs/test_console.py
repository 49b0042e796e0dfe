"""What is shown while a run goes on."""

import io
import re
import sys
from types import SimpleNamespace

import pytest

from gradinv.benchmark.runs import console


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def bar(monkeypatch):
    """The states of the bar over trials of these keys, in their order."""

    def follow(*keys):
        written = Terminal()
        monkeypatch.setattr(sys, "stderr", written)
        monkeypatch.setattr(console.tqdm, "mininterval", 0, raising=False)
        records = [SimpleNamespace(id=key, cell=SimpleNamespace(key=key)) for key in keys]
        console.follow(records, dict.fromkeys(keys, 60.0))
        return [state for state in re.split(r"[\r\n]", written.getvalue()) if state.strip()]

    return follow


def test_the_bar_has_no_empty_parts_and_names_the_trial(bar):
    states = bar("dlg", "prior_only of dlg")
    assert states[0].rstrip().endswith("left")
    assert states[-1].rstrip().endswith("left, 2 of 2 trials, last prior_only of dlg")
    assert not any(re.search(r",\s*,|,\s*$", state) for state in states)
