"""Lists of images as people have them: ``path -> (ListedImage, ...)``.

Caffe's ``ImageData`` layer wants a path, a space and a class number on each line, and starts its
paths at a ``root_folder``. What people have are also tables with commas or tabs, paths in quotes
and with spaces, paths of Windows and of the machine that the list was made on, several or real
values, and the path of a picture of labels in place of a class.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from deepvis_caffe import limits
from deepvis_caffe.errors import ImageError, boundary, shortened
from deepvis_caffe.files import decode_text, exists, is_text, read_file, text_lines
from deepvis_caffe.image import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

SAMPLE = 20  # paths that are looked for, to find where they start
DEEPEST = 12  # folders that paths may begin with and that are not there

_BETWEEN = r"[\s,;]+"
# No part of a pattern can begin where the one before it could have gone on: then the time that a
# line takes grows with its length, and not with its square.
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_ENDING = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))
_LINES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"([\"'])(?P<path>.+?)\1(?:{_BETWEEN}(?P<rest>.*))?",  # in quotes
        rf"(?P<path>.+?(?:{_ENDING}))(?:{_BETWEEN}(?P<rest>.*))?",  # up to an image's ending
        r"(?P<path>[^\t,;]*[^\s,;])\s*[\t,;](?P<rest>.*)",  # a table
        rf"(?P<path>\S+)(?P<rest>(?:\s+{_NUMBER})+)",
        r"(?P<path>.*\S)\s+(?P<rest>[+-]?\d+)",  # as Caffe: the last space parts them
    )
)
_HEADER = re.compile(rf"[a-z_]+(?:{_BETWEEN}[a-z_]+)+", re.IGNORECASE)


@dataclass(frozen=True)
class ListedImage:
    """An image of a list.

    Attributes
    ----------
    name
        The path as the list has it, with ``/`` between its parts.
    label
        The number of the image's class; None where the list has none.
    path
        Where the image is.
    """

    name: str
    label: int | None
    path: Path


def parse_list(source: Path, root: Path | None = None) -> tuple[ListedImage, ...]:
    """The images that a text file lists, in its order, each once.

    A line is a path, and optionally the number of a class after a space, tab, comma or semicolon.
    Empty lines, those that begin with ``#``, and a line of column names are passed over. Where
    there are several values on a line, real ones or words, the images have no classes, which a
    warning says.

    Parameters
    ----------
    root
        Where relative paths start; by default the list's folder, or else the current one, as in
        Caffe. Of paths that are not there, such as those of another machine, leading folders are
        left out if then they are found below it, which a warning says.

    Raises
    ------
    ImageError
        The list cannot be read, is empty, gives one image two classes, or not one of its images is
        there.
    """
    lines = _lines(source)
    if not lines:
        raise ImageError(f"the list {source} names no images")
    label_of = _classes(source, lines)
    labels: dict[str, int | None] = {}
    for line in lines:
        label = label_of(line)
        if labels.setdefault(line.name, label) != label:
            raise ImageError(
                f"{source}:{line.number}: {line.name} has class {label} here, and "
                f"{labels[line.name]} further up"
            )
    place = find_start(source, list(labels), root)
    return tuple(ListedImage(name, label, place(name)) for name, label in labels.items())


def list_lines(source: Path) -> list[tuple[int, str]]:
    """The lines of a text file with their numbers, but those that are empty or begin with ``#``.

    Raises
    ------
    ImageError
        It cannot be read, or is no text.
    """
    with boundary(ImageError, f"cannot read the list {source}"):
        text = decode_text(read_file(source, limits.IMAGE_LIST))
    if not is_text(text):
        raise ImageError(f"{source} is not a list of images, an HDF5 file (.h5) or a video")
    lines = enumerate(map(str.strip, text_lines(text)), 1)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


# -- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    number: int
    name: str
    values: tuple[str, ...]


def split_line(line: str) -> tuple[str, tuple[str, ...]]:
    """The path on a line of a list, and the values after it."""
    for pattern in _LINES:
        if found := pattern.fullmatch(line):
            return found["path"], tuple(filter(None, re.split(_BETWEEN, found["rest"] or "")))
    return line, ()


def _lines(source: Path) -> list[_Line]:
    lines = list_lines(source)
    first = [bool(_HEADER.fullmatch(line)) for _, line in lines[:2]]
    found = []
    for number, line in lines[1:] if first == [True, False] else lines:  # names of columns first
        name, values = split_line(line)
        found.append(_Line(number, name.replace("\\", "/"), values))
    return found


def _classes(source: Path, lines: Sequence[_Line]) -> Callable[[_Line], int | None]:
    """What gives the class of a line's image."""
    why = next(filter(None, map(_no_class, lines)), "")
    if why:
        log.warning("%s: %s, so its images have no classes", source, why)
        return lambda line: None
    return lambda line: int(float(line.values[0])) if line.values else None


def _no_class(line: _Line) -> str:
    """Why the values of a line are no number of a class; empty where they are."""
    where = f"in line {line.number}"
    for value in line.values:
        if not re.fullmatch(_NUMBER, value):
            return f"what follows the path {where} is no number, {shortened(value)!r}"
    if len(line.values) > 1:
        return f"{len(line.values)} values follow the path {where}"
    if line.values and not float(line.values[0]).is_integer():
        return f"what follows the path {where} is no whole number, {shortened(line.values[0])}"
    if line.values and abs(float(line.values[0])) > limits.LARGEST_SIZE:
        return f"what follows the path {where} is too large, {shortened(line.values[0])}"
    return ""


# -- where paths start ---------------------------------------------------------------------------


def find_start(source: Path, names: Sequence[str], root: Path | None) -> Callable[[str], Path]:
    """What gives the path of a file that a list names, by its name; see `parse_list`.

    Raises
    ------
    ImageError
        Not one of some of the files is there.
    """
    sample = names[:: max(1, len(names) // SAMPLE)][:SAMPLE]
    folders = [root] if root else list(dict.fromkeys([source.parent.absolute(), Path.cwd()]))
    for folder in folders:
        if any(exists(folder / name) for name in sample):
            return lambda name: folder / name
    for folder in folders:
        for leading in range(DEEPEST):
            below = [_below(name, leading) for name in sample]
            if None in below or not all(exists(folder / str(path)) for path in below):
                continue
            every = [_below(name, leading) for name in names]
            if None in every or len(set(every)) < len(every):  # two images would be one
                continue
            log.warning(
                "%s: its paths are not there, and are taken to start at %s: %s is %s",
                source,
                folder,
                names[0],
                folder / str(every[0]),
            )
            return lambda name: folder / str(_below(name, leading))
    raise ImageError(
        f"of the {len(names):,} files in the list {source}, not one is there: tried "
        f"{folders[0] / shortened(names[0], 300)}; name the folder where its paths "
        "start: --image-root FOLDER, or `image_root` in the settings"
    )


def _below(name: str, leading: int) -> str | None:
    """A path without its drive and so many leading folders; None where it has not so many."""
    parts = [part for part in PureWindowsPath(name).parts if part not in ("/", "\\", ".")]
    parts = parts[1:] if PureWindowsPath(name).drive else parts
    return "/".join(parts[leading:]) or None
