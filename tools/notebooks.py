"""Run notebooks, and store their outputs compactly: ``python -m tools.notebooks NOTEBOOK...``.

Pictures are stored as JPEG and other outputs as text, so that a notebook can be read without
running it.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbclient
import nbformat

from deepvis_caffe.image import encode_jpeg, read_image

QUALITY = 75


def run(path: Path) -> None:
    """Run a notebook in an empty folder, and write it back with its outputs."""
    notebook: Any = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=1800, resources=where).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        for output in cell.get("outputs", []):
            if "data" in output:
                output["data"] = _small(output["data"])
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, path)


def _small(data: dict[str, Any]) -> dict[str, Any]:
    if "image/png" not in data:
        return {"text/plain": data["text/plain"]}
    jpeg = encode_jpeg(read_image(base64.b64decode(data["image/png"])), QUALITY)
    return {"image/jpeg": base64.b64encode(jpeg).decode()}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        run(Path(argument))
