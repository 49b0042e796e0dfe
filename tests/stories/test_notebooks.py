"""The notebooks of docs/notebooks: each runs from top to bottom in a kernel of its own, and was committed executed."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
CLAIMS = {"audit": "Without a defense: pixels", "new-attack": "my_attack against idlg: "}
"""What a notebook must come to, here as where it was committed."""


def said(notebook):
    """All that its code printed or showed as text."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_comes_to_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRADINV_DATA", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    committed = said(notebook)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert CLAIMS[path.stem] in said(notebook)
    assert CLAIMS[path.stem] in committed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_committed_executed_and_clean(path):
    """In order, from a fresh kernel; without progress, warnings, errors, or paths of the machine that it ran on."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)
    assert "/tmp" not in str(outputs)
