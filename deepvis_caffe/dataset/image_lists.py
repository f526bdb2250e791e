"""Lists of images in many formats: ``path -> (ListedImage, ...)``.

Caffe's ``ImageData`` layer expects a path, a space and a class number on each line, with paths
relative to a ``root_folder``. Real lists may also be tables with commas or tabs, and may have paths
with quotes and spaces, Windows paths or paths of another machine, several values or floats, or the
path of a label map in place of a class.
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

SAMPLE = 20  # number of paths to look up, to find their base folder
DEEPEST = 12  # maximum number of leading folders that may be missing here

_BETWEEN = r"[\s,;]+"
# No part of a pattern can start where the previous one could continue, so that matching a line
# takes linear, not quadratic, time.
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_ENDING = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))
_LINES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"([\"'])(?P<path>.+?)\1(?:{_BETWEEN}(?P<rest>.*))?",  # in quotes
        rf"(?P<path>.+?(?:{_ENDING}))(?:{_BETWEEN}(?P<rest>.*))?",  # up to an image's extension
        r"(?P<path>[^\t,;]*[^\s,;])\s*[\t,;](?P<rest>.*)",  # a table
        rf"(?P<path>\S+)(?P<rest>(?:\s+{_NUMBER})+)",
        r"(?P<path>.*\S)\s+(?P<rest>[+-]?\d+)",  # as in Caffe, split at the last space
    )
)
_HEADER = re.compile(rf"[a-z_]+(?:{_BETWEEN}[a-z_]+)+", re.IGNORECASE)


@dataclass(frozen=True)
class ListedImage:
    """An image in a list.

    Attributes
    ----------
    name
        The path as in the list, with ``/`` as separator.
    label
        The image's class number; None if the list has none.
    path
        The image's actual path.
    """

    name: str
    label: int | None
    path: Path


def parse_list(source: Path, root: Path | None = None) -> tuple[ListedImage, ...]:
    """The images that a text file lists, in its order, each once.

    A line is a path, optionally followed by a class number after a space, tab, comma or semicolon.
    Empty lines, lines that start with ``#``, and a header line are skipped. If lines have several
    values, floats or words, the images have no classes, with a warning.

    Parameters
    ----------
    root
        Base of relative paths; by default the list's folder, or otherwise the current one, as in
        Caffe. Leading folders of missing paths, such as those of another machine, are dropped if
        the images are then found below it, with a warning.

    Raises
    ------
    ImageError
        The list cannot be read, is empty, gives an image two classes, or none of its images exists.
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
                f"{source}:{line.number}: {line.name} has class {label} here, but "
                f"{labels[line.name]} on an earlier line"
            )
    place = find_start(source, list(labels), root)
    return tuple(ListedImage(name, label, place(name)) for name, label in labels.items())


def list_lines(source: Path) -> list[tuple[int, str]]:
    """The lines of a text file with their numbers, except empty ones and those that start with #.

    Raises
    ------
    ImageError
        It cannot be read, or is not text.
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
    for number, line in lines[1:] if first == [True, False] else lines:  # skip a header line
        name, values = split_line(line)
        found.append(_Line(number, name.replace("\\", "/"), values))
    return found


def _classes(source: Path, lines: Sequence[_Line]) -> Callable[[_Line], int | None]:
    """A function that returns the class of a line's image."""
    why = next(filter(None, map(_no_class, lines)), "")
    if why:
        log.warning("%s: %s, so its images have no classes", source, why)
        return lambda line: None
    return lambda line: int(float(line.values[0])) if line.values else None


def _no_class(line: _Line) -> str:
    """Why the values of a line are not a class number; empty if they are."""
    where = f"in line {line.number}"
    for value in line.values:
        if not re.fullmatch(_NUMBER, value):
            return f"what follows the path {where} is not a number, {shortened(value)!r}"
    if len(line.values) > 1:
        return f"{len(line.values)} values follow the path {where}"
    if line.values and not float(line.values[0]).is_integer():
        return f"what follows the path {where} is not a whole number, {shortened(line.values[0])}"
    if line.values and abs(float(line.values[0])) > limits.LARGEST_SIZE:
        return f"what follows the path {where} is too large, {shortened(line.values[0])}"
    return ""


# -- where paths start ---------------------------------------------------------------------------


def find_start(source: Path, names: Sequence[str], root: Path | None) -> Callable[[str], Path]:
    """A function that returns the path of a file in a list, by its name; see `parse_list`.

    Raises
    ------
    ImageError
        None of a sample of the files exists.
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
            if None in every or len(set(every)) < len(every):  # two images would become one
                continue
            log.warning(
                "%s: its paths do not exist as written; they are taken relative to %s: %s is %s",
                source,
                folder,
                names[0],
                folder / str(every[0]),
            )
            return lambda name: folder / str(_below(name, leading))
    raise ImageError(
        f"none of the {len(names):,} files in the list {source} exists: tried "
        f"{folders[0] / shortened(names[0], 300)}; give the folder that its paths are "
        "relative to: --image-root FOLDER, or `image_root` in the settings"
    )


def _below(name: str, leading: int) -> str | None:
    """A path without its drive and `leading` folders; None if it has fewer."""
    parts = [part for part in PureWindowsPath(name).parts if part not in ("/", "\\", ".")]
    parts = parts[1:] if PureWindowsPath(name).drive else parts
    return "/".join(parts[leading:]) or None
