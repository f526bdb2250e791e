"""The page of a results folder: ``Results -> index.html and the parts beside it``.

One file holds the page with its styles, script and index. The folder `<name>_files` beside it holds
the parts, which say how the pictures were made and are named by a hash of their content. New parts
are written first, then the page, and then the old page's parts are deleted, so that there is always
a complete page.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from deepvis_caffe import __version__
from deepvis_caffe.errors import ResultsError
from deepvis_caffe.files import whole_file
from deepvis_caffe.page.data import correlation_text, dumps, index_json, part_texts
from deepvis_caffe.page.single_file import PageTemplates, source_hash
from deepvis_caffe.results.index import Results
from deepvis_caffe.results.layout import gallery_page

SCRIPTS = (
    "data.js",
    "route.js",
    "pictures.js",
    "chart.js",
    "grid.js",
    "unit.js",
    "record.js",
    "statistics.js",
    "correlation.js",
    "drivers.js",
    "diagram.js",
    "lightbox.js",
    "keys.js",
    "main.js",
)
STYLES = (
    "base.css",
    "layout.css",
    "grid.css",
    "unit.css",
    "statistics.css",
    "correlation.css",
    "drivers.css",
    "diagram.css",
    "dialogs.css",
    "narrow.css",
)
# Names of results folders that every model has: ours, and that of the Deep Visualization Toolbox.
GENERIC_NAMES = ("results", "unit_jpg_vis")
GENERATOR = b'<meta name="generator" content="deepvis gallery'
PART = re.compile(r"[0-9a-f]{20}\.js")
ENDINGS = (".html", ".htm")


def write_page(results: Results, out: str | os.PathLike[str] | None = None) -> Path:
    """Write the page and, beside it, the folder of its parts.

    Parameters
    ----------
    out
        The page; ``index.html`` in the results folder by default.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ResultsError
        The file cannot be written, or another program made it. It is left as it was.
    """
    page = gallery_page(results.folder) if out is None else Path(out)
    _check_writable(page)
    try:
        with _new_files(page.with_name(f"{page.stem}_files")) as new:
            parts = [
                [new.write(text) for text in part_texts(layer, number)]
                for number, layer in enumerate(results.layers)
            ]
            matrices = {
                number: new.write(correlation_text(layer.correlation, number))
                for number, layer in enumerate(results.layers)
                if layer.correlation is not None
            }
            html = page_html(results, _address(results.folder, page.parent), parts, matrices)
            with whole_file(page) as part:
                part.write_bytes(html.encode("utf-8"))  # newlines as hashed for the policy
            new.keep()
    except OSError as error:
        raise ResultsError(
            f"cannot write {page}: {error.strerror}; choose another file (--out FILE)"
        ) from error
    return page


def page_html(
    results: Results,
    base: str,
    parts: list[list[str]],
    matrices: Mapping[int, str] = MappingProxyType({}),
) -> str:
    """The text of the page.

    Parameters
    ----------
    base, parts, matrices
        Relative URLs, as in `deepvis_caffe.page.data.index_json`.
    """
    templates = PageTemplates("deepvis_caffe.page")
    script = templates.script(SCRIPTS)
    own = {
        "style": templates.joined(STYLES),
        "script": script,
        "index": dumps(index_json(results, base, parts, matrices)),
    }
    return templates.render(
        own,
        version=__version__,
        name=_name(results),
        policy=_policy(script),
    )


def _name(results: Results) -> str:
    """What to call the results: the nets named in records, or the known net, or the folder."""
    models = sorted({layer.model for layer in results.layers if layer.model})
    folder = results.folder.resolve()
    if folder.name in GENERIC_NAMES and folder.parent.name:
        folder = folder.parent
    return ", ".join(models) or results.net or folder.name


def _policy(script: str) -> str:
    """The Content-Security-Policy, which allows this script and local files, and nothing else."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"img-src 'self' file: data:; script-src 'self' file: {source_hash(script)}"
    )


def _address(folder: Path, seen_from: Path) -> str:
    try:
        relative = Path(os.path.relpath(folder.resolve(), seen_from.resolve())).as_posix()
    except ValueError:  # another drive
        return f"{folder.resolve().as_uri()}/"
    return "" if relative == "." else f"{quote(relative)}/"


def _check_writable(page: Path) -> None:
    if page.suffix.lower() not in ENDINGS:
        raise ResultsError(f"cannot write {page}: a page's name must end in {', '.join(ENDINGS)}")
    try:
        with page.open("rb") as file:
            is_ours = GENERATOR in file.read(4096)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ResultsError(
            f"cannot write {page}: {error.strerror}; choose another file (--out FILE)"
        ) from error
    if not is_ours:
        raise ResultsError(
            f"{page} exists and was not made by `deepvis gallery`; choose another file "
            "(--out FILE), or move it away"
        )


class _NewFiles:
    """The parts that a page needs, and which of them are new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._needed: set[str] = set()
        self._new: list[Path] = []
        self._kept = False

    def write(self, text: str) -> str:
        """Write a part unless it exists, and return its relative URL."""
        content = text.encode("ascii")
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.js"
        path = self._folder / name
        if not self._needed:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._needed.add(name)
        if not path.is_file():
            self._new.append(path)
            with whole_file(path) as part:
                part.write_bytes(content)
        return f"{quote(self._folder.name)}/{name}"

    def keep(self) -> None:
        """Tell `tidy` that the page has been written, so it deletes the old parts, not the new."""
        self._kept = True

    def tidy(self) -> None:
        """Delete the parts that the page on disk does not need, and no other files."""
        with suppress(OSError):
            old = [p for p in self._folder.iterdir() if PART.fullmatch(p.name)]
            gone = [p for p in old if p.name not in self._needed] if self._kept else self._new
            for path in gone:
                path.unlink(missing_ok=True)
            if not any(self._folder.iterdir()):
                self._folder.rmdir()


@contextmanager
def _new_files(folder: Path) -> Iterator[_NewFiles]:
    new = _NewFiles(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield new
    finally:
        new.tidy()
