"""The notebooks run from start to end, and show pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import nbclient
import nbformat
import numpy as np
import pytest

pytestmark = pytest.mark.process

LARGEST = 900_000  # bytes, with what it shows
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_pictures(
    path: Path, tmp_path: Path, squeezenet_weights: Path
) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    assert path.stat().st_size < LARGEST, "`python -m tools.notebooks` makes it small"
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        cv2.imdecode(np.frombuffer(base64.b64decode(output.data["image/png"]), np.uint8), 1)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) >= 2
    assert all(picture.std() > 5 for picture in shown), "gray"


def test_there_are_notebooks() -> None:
    assert len(list(EXAMPLES.glob("*.ipynb"))) == 3
