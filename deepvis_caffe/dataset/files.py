"""Images in files: every one below a folder, or those that a list names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deepvis_caffe.dataset.decode import decode
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError

# What OpenCV decodes everywhere.
SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".jpe", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


class Files(Source):
    """Image files below one folder.

    Parameters
    ----------
    root
        What the names start at.
    labels
        The class of each image by its name, which is its path from `root`, parted by ``/``.
    """

    kind = "files"

    def __init__(self, root: Path, labels: Mapping[str, int | None]) -> None:
        self.root = root.absolute()
        self.names = sorted(labels)
        self._labels = [labels[name] for name in self.names]

    def read(self, index: int) -> NDArray[Any]:
        """RGB, (H, W, 3), uint8."""
        return decode(self.content(index))

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """The same; a JPEG perhaps smaller, see `decode`."""
        return decode(self.content(index), side)

    def label(self, index: int) -> int | None:
        """As listed."""
        return self._labels[index]

    def content(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return self._path(index).read_bytes()
        except OSError as error:
            raise ImageError(error.strerror or str(error)) from error

    def size(self, index: int) -> int | None:
        """The file's; 0 where it is gone."""
        try:
            return self._path(index).stat().st_size
        except OSError:
            return 0

    def file(self, index: int) -> Path:
        """Its absolute path."""
        return self._path(index)

    def _path(self, index: int) -> Path:
        return self.root / self.names[index]


def read_folder(folder: Path, class_folders: bool = False) -> Files:
    """Every image below a folder, links followed.

    Parameters
    ----------
    class_folders
        Whether the folders in it are classes, numbered from 0 in the order of their names.

    Raises
    ------
    ImageError
        It holds no images.
    """
    found: list[str] = []
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        true = os.path.realpath(where)
        if true in seen:  # a link to where we have been
            folders.clear()
            continue
        seen.add(true)
        inside = os.path.relpath(where, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + name for name in files if Path(name).suffix.lower() in SUFFIXES]
    if not found:
        raise ImageError(f"{folder} holds no images: no file in it ends in {', '.join(SUFFIXES)}")
    classes = sorted({name.partition("/")[0] for name in found if "/" in name})
    numbers = {name: number for number, name in enumerate(classes)} if class_folders else {}
    return Files(folder, {name: numbers.get(name.partition("/")[0]) for name in found})


def read_list(path: Path) -> Files:
    """The images that a text file lists, as Caffe's ``ImageData`` layer reads it.

    A path a line, from the list's own folder, and perhaps a space and the number of its class. An
    image that is listed twice is one; files that are not there are found out when they are read.

    Raises
    ------
    ImageError
        The list cannot be read, is empty, or gives one image two classes.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ImageError(f"cannot read the list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ImageError(f"the list {path} is not UTF-8 text: {error.reason}") from error
    labels: dict[str, int | None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(.*\S)\s+([+-]?\d+)\s*", line)
        name, label = (match[1], int(match[2])) if match else (line.strip(), None)
        if labels.setdefault(name, label) != label:
            raise ImageError(
                f"{path}:{number}: {name} has class {label} here, and {labels[name]} further up"
            )
    if not labels:
        raise ImageError(f"the list {path} names no images")
    return Files(path.parent, labels)
