"""Images in files: ``Files``, below a folder or from a list, and ``Video``, frames of a video.

Truncated JPEG and PNG files are rejected. OpenCV would silently decode their first part and fill
the rest with gray, and the edge in between would become some edge detector's top image.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.image_lists import parse_list
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError, boundary
from deepvis_caffe.files import open_file, read_file
from deepvis_caffe.image import IMAGE_SUFFIXES, is_array, is_image
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.image_size import (
    START_OF_SCAN,
    Size,
    check_claim,
    declared_size,
    jpeg_segments,
)
from deepvis_caffe.limits import IMAGE_FILE, MEGAPIXELS

NOT_COUNTED = ("Thumbs.db", "desktop.ini", "ehthumbs.db")  # created by Windows
END_OF_IMAGE = b"\xff\xd9"


def decode(
    content: bytes,
    side: int | None = None,
    channels: int = 3,
    megapixels: float = MEGAPIXELS,
) -> NDArray[Any]:
    """Decode the bytes of an image file for a net with `channels` channels, see `read_channels`.

    Parameters
    ----------
    side
        Decode a JPEG at a half or a quarter of its size if both sides stay at least this long.
        Callers request more than they finally need, so that the result hardly changes.
    megapixels
        Maximum image size, in millions of pixels. A JPEG that is decoded at a reduced size counts
        with its full size: its pictures are made from all of it.

    Raises
    ------
    ImageError
        It is not an image, is truncated, or is too large.
    """
    is_jpeg = content.startswith(b"\xff\xd8")
    if is_jpeg and not _ends(content):
        raise ImageError(f"truncated JPEG: {len(content):,} bytes")
    if content.startswith(b"\x89PNG") and b"IEND" not in content[-4096:]:
        raise ImageError(f"truncated PNG: {len(content):,} bytes")
    # Checked here for the message that a scan counts; `read_channels` reports non-images.
    size = None if is_array(content) else declared_size(content)
    if size:
        check_claim(size, megapixels)
    shrink = _shrink(size, side) if size and side and is_jpeg else 1
    return read_channels(content, channels, shrink, megapixels)


def _ends(jpeg: bytes) -> bool:
    """Whether an end-of-image marker follows the first scan.

    An earlier one may be a thumbnail's, and cameras write more data after the image.
    """
    for marker, at in jpeg_segments(jpeg):
        if marker == START_OF_SCAN:
            return jpeg.find(END_OF_IMAGE, at) >= 0
    return False


def _shrink(size: Size, side: int) -> Literal[1, 2, 4]:
    """The factor by which a JPEG's size may be reduced when decoding."""
    shorter = min(size.height, size.width)
    return 4 if shorter >= 4 * side else 2 if shorter >= 2 * side else 1


class Files(Source):
    """Image files below one folder.

    Parameters
    ----------
    root
        The folder that names are relative to.
    labels
        The class of each image by its name, which is its path relative to `root`, with ``/``.
    paths
        Paths of images that are not at `root` / name.
    channels
        Channels of the net's input.
    megapixels
        Maximum image size, in millions of pixels.

    Attributes
    ----------
    left_out
        Numbers of files in the folder that are not images, by extension.
    """

    kind = "files"

    def __init__(
        self,
        root: Path,
        labels: Mapping[str, int | None],
        paths: Mapping[str, Path] = MappingProxyType({}),
        channels: int = 3,
        megapixels: float = MEGAPIXELS,
    ) -> None:
        self.root, self.channels, self.megapixels = root.absolute(), channels, megapixels
        self.left_out: Mapping[str, int] = {}
        self.names = sorted(labels)
        self._paths = {name: path.absolute() for name, path in paths.items()}
        self._labels = [labels[name] for name in self.names]

    def read(self, index: int) -> NDArray[Any]:
        """RGB, (H, W, 3), uint8; or the channels of the net, see `read_channels`."""
        return decode(self.content(index), None, self.channels, self.megapixels)

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """The same; a JPEG may be smaller, see `decode`."""
        return decode(self.content(index), side, self.channels, self.megapixels)

    def label(self, index: int) -> int | None:
        """As listed."""
        return self._labels[index]

    def content(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return read_file(self._path(index), IMAGE_FILE)
        except OSError as error:
            raise ImageError(f"{error.strerror or error}: {self._path(index)}") from error

    def size(self, index: int) -> int | None:
        """The size of the file; 0 if it is missing."""
        try:
            return self._path(index).stat().st_size
        except (OSError, ValueError):  # a ValueError if its name contains NUL
            return 0

    def file(self, index: int) -> Path:
        """The absolute path."""
        return self._path(index)

    def _path(self, index: int) -> Path:
        name = self.names[index]
        return self._paths.get(name) or self.root / name


def read_folder(
    folder: Path, class_folders: bool = False, channels: int = 3, megapixels: float = MEGAPIXELS
) -> Files:
    """All images below a folder, following links: by extension, or without one by content.

    In names that are not UTF-8, undecodable bytes are escaped as in Python.

    Parameters
    ----------
    class_folders
        Whether its subfolders are classes, numbered from 0 in the order of their names.
    channels
        Channels of the net's input.
    megapixels
        Maximum image size, in millions of pixels.

    Raises
    ------
    ImageError
        It holds no images.
    """
    found: list[str] = []
    paths: dict[str, Path] = {}
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        true = os.path.realpath(where)
        if true in seen:  # a link back to a folder already visited
            folders.clear()
            continue
        seen.add(true)
        inside = os.path.relpath(where, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        for name in files:
            if is_image(Path(where, name)):
                shown = _as_text(prefix + name)
                found.append(shown)
                if shown != prefix + name:
                    paths[shown] = Path(where, name)
            elif not name.startswith(".") and name not in NOT_COUNTED:
                others[_as_text(Path(name).suffix.lower())] += 1
    if not found:
        said = f"; there are {in_words(others)}" if others else ""
        raise ImageError(
            f"{folder} holds no images: no file in it ends in {', '.join(sorted(IMAGE_SUFFIXES))}"
            f"{said}"
        )
    classes = sorted({name.partition("/")[0] for name in found if "/" in name})
    numbers = {name: number for number, name in enumerate(classes)} if class_folders else {}
    labels = {name: numbers.get(name.partition("/")[0]) for name in found}
    source = Files(folder, labels, paths, channels, megapixels)
    source.left_out = dict(others.most_common())
    return source


def _as_text(name: str) -> str:
    """A file's name as encodable text; its bytes need not be UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def in_words(endings: Mapping[str, int]) -> str:
    """The numbers of files by extension, in words: ``"12 .txt, 3 without an ending"``."""
    return ", ".join(f"{n:,} {ending or 'without an ending'}" for ending, n in endings.items())


def read_list(
    path: Path, root: Path | None = None, channels: int = 3, megapixels: float = MEGAPIXELS
) -> Files:
    """The images that a text file lists, see `deepvis_caffe.dataset.image_lists.parse_list`.

    Missing files are reported when they are read.

    Parameters
    ----------
    root
        Base of relative paths; by default the list's folder.
    channels
        Channels of the net's input.
    megapixels
        Maximum image size, in millions of pixels.

    Raises
    ------
    ImageError
        The list cannot be read, is empty, gives an image two classes, or none of its images exists.
    """
    found = parse_list(path, root)
    start = root or path.parent
    paths = {one.name: one.path for one in found if one.path != start.absolute() / one.name}
    labels = {one.name: one.label for one in found}
    return Files(start, labels, paths, channels, megapixels)


VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
)


class Video(Source):
    """The frames of a video, decoded from the start: not every format supports exact seeking.

    Parameters
    ----------
    path
        The file. It is decoded once to count the frames, as its header may be wrong.

    Raises
    ------
    ImageError
        It cannot be opened, or has no frames.
    """

    kind = "video"
    in_one_stream = True

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._reset()
        with boundary(ImageError, f"cannot open the video {path}"):
            open_file(path).close()  # raises for a pipe, on which OpenCV would hang
        with self._lock:
            self._reopen()
            while self._capture.grab():
                self._next += 1
            count = self._next
            self._reopen()
        if not count:
            raise ImageError(f"the video {path} has no frames that can be decoded")
        self.names = [f"frame_{number:08d}" for number in range(count)]

    def read(self, index: int) -> NDArray[Any]:
        """RGB, (H, W, 3), uint8."""
        import cv2

        with self._lock:
            if self._capture is None or index < self._next:
                self._reopen()
            while self._next < index and self._capture.grab():
                self._next += 1
            found, bgr = self._capture.read()
            self._next += 1
        if not found:
            raise ImageError(f"frame {index} cannot be decoded")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))

    def label(self, index: int) -> int | None:
        """None."""
        return None

    def content(self, index: int) -> bytes:
        """The frame's pixels."""
        return self.read(index).tobytes()

    def signature(self) -> str:
        """A digest of the number of frames, with the size of the file."""
        return f"{super().signature()}-{self.path.stat().st_size}"

    def _reset(self) -> None:
        self._capture: Any = None
        self._next = 0
        self._lock = threading.Lock()

    def _reopen(self) -> None:
        import cv2

        self._capture, self._next = cv2.VideoCapture(str(self.path)), 0
        if not self._capture.isOpened():
            raise ImageError(f"cannot open the video {self.path}")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()
