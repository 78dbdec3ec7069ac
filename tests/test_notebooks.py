"""The notebooks of examples/ run from their first cell to their last; what they promise, they assert themselves."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda file: file.stem)
def test_notebooks_run(file, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "a notebook is kept without its outputs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's own packages
        nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
