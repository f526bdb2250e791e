"""Files that come with the package: prototxts, labels, the table of models to fetch."""

from __future__ import annotations

from pathlib import Path

from deepvis_caffe.errors import UnknownNameError


def resource(folder: str, name: str) -> Path:
    """The path of a file that comes with the package.

    Parameters
    ----------
    folder
        ``"prototxt"`` or ``"weights"``: beside the package in a checkout, inside it in a wheel.
    name
        The file's name.
    """
    package = Path(__file__).resolve().parent
    for base in (package / folder, package.parent / folder):
        if (base / name).is_file():
            return base / name
    known = sorted(
        path.name
        for base in (package / folder, package.parent / folder)
        if base.is_dir()
        for path in base.iterdir()
        if path.is_file() and path.suffix != ".py"
    )
    raise UnknownNameError(f"shipped {folder} file", name, known)
