"""Pictures in memory and image files as a source: ``[picture, "a.jpg"]`` or ``{name: picture}``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.image_files import decode
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError

Picture = NDArray[Any]
Name = str | os.PathLike[str]


class Pictures(Source):
    """Pictures by name; in a list by index: ``"0000"``, or ``"0001 a.jpg"`` for a file.

    Parameters
    ----------
    pictures
        Each (H, W, 3) RGB or (H, W), as `Preprocessor` takes it; or the path of an image file.
        A list of these, or a mapping from names.
    channels
        Channels of the net's input.

    Raises
    ------
    ImageError
        There are none, or one has another type.
    """

    kind = "pictures"

    def __init__(
        self,
        pictures: Mapping[str, Picture | Name] | Iterable[Picture | Name],
        channels: int = 3,
    ) -> None:
        self.channels = channels
        if isinstance(pictures, Mapping):
            self.names = sorted(pictures)
            self._pictures = [_checked(repr(name), pictures[name]) for name in self.names]
        else:
            self._pictures = [_checked(f"{place}", one) for place, one in enumerate(pictures)]
            digits = max(4, len(str(len(self._pictures) - 1)))
            self.names = [
                f"{place:0{digits}}" + (f" {one.name}" if isinstance(one, Path) else "")
                for place, one in enumerate(self._pictures)
            ]
        if not self._pictures:
            raise ImageError("the list of images is empty")

    def read(self, index: int) -> NDArray[Any]:
        """The picture itself, or the file's."""
        return self._read(index, None)

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """The same; a JPEG file may be smaller, see `decode`."""
        return self._read(index, side)

    def _read(self, index: int, side: int | None) -> NDArray[Any]:
        found = self._pictures[index]
        if isinstance(found, Path):
            return decode(self.content(index), side, self.channels)
        return found

    def label(self, index: int) -> int | None:
        """None."""
        return None

    def content(self, index: int) -> bytes:
        """The file's bytes, or the picture's shape and values."""
        found = self._pictures[index]
        if not isinstance(found, Path):
            return f"{found.shape} {found.dtype} ".encode() + found.tobytes()
        try:
            return found.read_bytes()
        except OSError as error:
            raise ImageError(f"{error.strerror or error}: {found}") from error

    def file(self, index: int) -> Path | None:
        """The absolute path of a file; None for a picture."""
        found = self._pictures[index]
        return found if isinstance(found, Path) else None

    def signature(self) -> str:
        """A digest of the pictures themselves, which their names do not identify."""
        digest = hashlib.blake2b(self.kind.encode(), digest_size=16)
        for index in range(len(self)):
            digest.update(hashlib.blake2b(self.content(index)).digest())
        return digest.hexdigest()


def _checked(place: str, picture: Picture | Name) -> Picture | Path:
    if isinstance(picture, (str, os.PathLike)):
        path = Path(picture).absolute()
        if not path.is_file():
            raise ImageError(f"image {place} of the list: there is no file {path}")
        return path
    array: NDArray[Any] = np.asarray(picture)
    if array.ndim not in (2, 3) or array.dtype.kind not in "uif":
        raise ImageError(
            f"image {place} of the list is neither a file nor a picture, (H, W, 3) or (H, W): got "
            f"{array.dtype} of shape {array.shape}"
        )
    return array
