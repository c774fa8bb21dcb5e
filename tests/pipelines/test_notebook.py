"""The notebook runs from its first cell to its last, on a few small photos, and is stored without outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.long

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/bins.ipynb"
SPACE = "metric: val/accuracy\ngoal: maximize\nparameters: {lr: {low: 0.001, high: 0.01}}\n"


@pytest.fixture(scope="module")
def executed(tmp_path_factory, drawn_bins) -> nbformat.NotebookNode:
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "space.yaml").write_text(SPACE)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (place,) = [
        place for place, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
    ]
    small = f"""
SOURCE, IMG, EPOCHS, BATCH_SIZE = {str(drawn_bins)!r}, 32, 1, 8
SPACE, TRIALS = {str(folder / "space.yaml")!r}, 1
OUT = Path({str(folder)!r})
STORE = str(OUT / "store")"""
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(small))
    places = {"STOCKTAKE_CACHE": f"{folder}/cache", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    return client.execute(env={**os.environ, **places})


def shown(executed: nbformat.NotebookNode, words: str) -> str:
    """What the cell that has these words put out."""
    (cell,) = [cell for cell in executed.cells if cell.cell_type == "code" and words in cell.source]
    return "".join(
        output.get("text", "") or str(output.get("data", {}).get("text/markdown", ""))
        or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    )  # fmt: skip


def test_every_step_says_what_it_did(executed):
    assert "0 missing" in shown(executed, "verify(STORE)")
    assert "Split: " in shown(executed, "split_report")
    assert len(shown(executed, "print(first.rules)").splitlines()) == 8
    assert "Search: 1 trials" in shown(executed, "search(index_path")
    assert "version 1" in shown(executed, "promote(")
    assert "probabilities" in shown(executed, "httpx.post")
    assert "verdict=" in shown(executed, "await count")


def test_no_outputs_are_stored():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
