"""The notebook of the documentation runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.integration.conftest import Project

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tour.ipynb"
# The whole run in the kernel's process: other tests show that Ray does the same.
QUICKLY = """
import functools
import raypose
raypose.RunConfig = functools.partial(raypose.RunConfig, inline=True, device="cpu")
"""


@pytest.mark.slow
def test_every_cell_runs(project: Project, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    inputs = next(cell for cell in notebook.cells if cell.cell_type == "code")
    inputs.source = f"""{QUICKLY}
from pathlib import Path
VIDEOS = {str(project.videos)!r}
MODELS = {[str(model) for model in project.models]!r}
OUT = Path({str(tmp_path / "out")!r})
VIDEO, KEYPOINT = "a", "nose"
"""
    client = nbclient.NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises what a cell raises
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    planned = cells[1].outputs
    assert [out.output_type for out in planned] == ["execute_result"], "shown once"
    assert "everything" in planned[0].data["text/html"]
    images = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(images) == 2


def test_it_is_committed_with_small_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert NOTEBOOK.stat().st_size < 300_000
    assert "/home/" not in NOTEBOOK.read_text() and "/tmp/" not in NOTEBOOK.read_text()
