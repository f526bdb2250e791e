"""Find the files to run: ``a list, folders, patterns -> paths``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def find_files(sources: Iterable[str], root: Path | None = None) -> list[Path]:
    """The prototxts that the sources name, each once, in order.

    Parameters
    ----------
    sources
        Each a prototxt, a folder (all ``*.prototxt`` below it), a pattern with ``*``, or a list: a
        text file (``.txt``) with one path per line, or a ``.tsv`` where all columns but the last
        form the path. Empty lines, lines that begin with ``#`` and a TSV's header are skipped.
    root
        The folder that paths in a list are relative to; the list's folder by default.

    Raises
    ------
    FileNotFoundError
        There is no such source.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found |= dict.fromkeys(sorted(path.rglob("*.prototxt")))
        elif "*" in source:
            folder = Path(path.anchor)
            found |= dict.fromkeys(sorted(folder.glob(str(path.relative_to(folder)))))
        elif not path.is_file():
            raise FileNotFoundError(f"{source} is no file, folder or pattern")
        elif path.suffix in (".txt", ".tsv"):
            found |= dict.fromkeys(_listed(path, root or path.parent))
        else:
            found[path] = None
    return list(found)


def _listed(path: Path, root: Path) -> list[Path]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if path.suffix == ".txt":
        return [root / row for row in rows]
    paths = [root.joinpath(*row.split("\t")[:-1]) for row in rows]
    return paths if paths and paths[0].is_file() else paths[1:]
