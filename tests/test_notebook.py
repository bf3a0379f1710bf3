"""notebooks/quickstart.ipynb runs from its first cell to its last: here on made-up voices, from random weights."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.tiny_bases import save_tiny_base

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "notebooks" / "quickstart.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_holds_no_outputs():
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_the_first_cell_fetches_what_is_missing_and_says_what_it_must_be_told(tmp_path, monkeypatch):
    setup = next(cell.source for cell in read().cells if cell.cell_type == "code")
    monkeypatch.chdir(tmp_path)  # no repository here
    with pytest.raises(SystemExit, match="Say in REPOSITORY above"):
        exec(compile(setup, str(NOTEBOOK), "exec"), {})


@pytest.mark.slow
def test_it_runs_whole(corpus_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # the notebook draws into itself
    notebook = read()
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings = {
        "DATA_DIR": str(corpus_dir),
        "TRAIN_ACTORS": [1, 2, 3, 4],
        "VALIDATION_ACTORS": [5, 6],
        "TEST_ACTORS": [7, 8],
        "BASE_MODEL": str(save_tiny_base("whisper", tmp_path / "base")),
        "LAYERS": 2,
        "EPOCHS": 1,
    }
    names = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
    assert names == settings.keys()
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "32 clips train, 16 validate, 16 are tested" in text
    assert "SVM: " in text
    assert "only the network is right" in text
    kinds = [kind for cell in notebook.cells for out in cell.get("outputs", []) for kind in out.get("data", {})]
    assert kinds.count("image/png") >= 3
    assert "text/html" in kinds
