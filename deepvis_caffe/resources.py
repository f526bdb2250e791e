"""Files that ship with the package (prototxts, labels, the table of models); optional extras."""

from __future__ import annotations

import shlex
from pathlib import Path

from deepvis_caffe.errors import UnknownNameError


def resource(folder: str, name: str) -> Path:
    """The path of a file that ships with the package.

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


def pip_install(extra: str) -> str:
    """The command that installs an extra of the package, such as ``"torch"``.

    In a clone of the repository it installs from the clone, which needs no package index.
    """
    clone = Path(__file__).resolve().parents[1]
    if (clone / "setup.py").is_file():
        return f"pip install -e {shlex.quote(f'{clone}[{extra}]')}"
    return f"pip install 'deepvis_caffe[{extra}]'"
