"""Sources of images: ``Source``, with sorted names and ``index -> picture``.

A source's images are always sorted by name, regardless of the order in the folder, database or
list. So ties between equal activations are broken the same way everywhere: by index.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.progress import ProgressCallback


class Source(abc.ABC):
    """Images by index, each with a unique name.

    Reading is thread-safe. A source can be pickled, for other processes.

    Attributes
    ----------
    names
        The name of every image, sorted, without duplicates.
    prepared
        Whether :meth:`read` returns the net's input, (C, H, W), instead of pictures.
    megapixels
        Maximum image size, in millions of pixels.
    in_one_stream
        Whether images can only be read sequentially, like the frames of a video: several readers
        would each read all of it.
    """

    kind: ClassVar[str]
    prepared: bool = False
    in_one_stream: bool = False
    megapixels: float = MEGAPIXELS
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @abc.abstractmethod
    def read(self, index: int) -> NDArray[Any]:
        """Read one picture, RGB, as `Preprocessor` takes it; or the net's input if `prepared`.

        Raises
        ------
        ImageError
            The image is damaged or missing.
        """

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """As :meth:`read`, or a smaller copy whose sides are both at least `side`."""
        return self.read(index)

    @abc.abstractmethod
    def label(self, index: int) -> int | None:
        """The image's class number; None if unknown."""

    @abc.abstractmethod
    def content(self, index: int) -> bytes:
        """Bytes that identify the image: equal bytes mean the same image.

        Raises
        ------
        ImageError
            The image is missing.
        """

    def size(self, index: int) -> int | None:
        """The length of :meth:`content`, if known without reading it."""
        return None

    def file(self, index: int) -> Path | None:
        """The file that holds this image and nothing else; None if there is none."""
        return None

    def signature(self) -> str:
        """A digest of the names, sizes and labels, which identifies the set of images.

        It is different if the size limit of images is not the default.
        """
        digest = hashlib.blake2b(self.kind.encode(), digest_size=16)
        if self.megapixels != MEGAPIXELS:
            digest.update(f"{self.megapixels}\n".encode())
        for index, name in enumerate(self.names):
            digest.update(f"{name}\0{self.size(index)}\0{self._known_label(index)}\n".encode())
        return digest.hexdigest()

    def _known_label(self, index: int) -> int | None:
        """The label, if known without reading the image."""
        return self.label(index)


class Selection(Source):
    """Some of the images of a source.

    Parameters
    ----------
    source
        All images.
    indices
        Those to keep, ascending.
    """

    kind = "selection"

    def __init__(self, source: Source, indices: Iterable[int]) -> None:
        self._source, self._indices = source, tuple(indices)
        self.prepared, self.in_one_stream = source.prepared, source.in_one_stream
        self.megapixels = source.megapixels
        self.names = [source.names[index] for index in self._indices]

    def read(self, index: int) -> NDArray[Any]:
        """As in the source."""
        return self._source.read(self._indices[index])

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """As in the source."""
        return self._source.read_small(self._indices[index], side)

    def label(self, index: int) -> int | None:
        """As in the source."""
        return self._source.label(self._indices[index])

    def content(self, index: int) -> bytes:
        """As in the source."""
        return self._source.content(self._indices[index])

    def size(self, index: int) -> int | None:
        """As in the source."""
        return self._source.size(self._indices[index])

    def file(self, index: int) -> Path | None:
        """As in the source."""
        return self._source.file(self._indices[index])

    def _known_label(self, index: int) -> int | None:
        return self._source._known_label(self._indices[index])


def every(source: Source, step: int) -> Source:
    """The first image of a source and every `step`-th after it."""
    return source if step == 1 else Selection(source, range(0, len(source), step))


def unique(
    source: Source, progress: ProgressCallback | None = None
) -> tuple[Source, tuple[tuple[str, str], ...]]:
    """Remove exact duplicates from a source, keeping the first name of each.

    Only images with the same size in bytes as another one are read.

    Parameters
    ----------
    progress
        Called with the number of images compared, and their total.

    Returns
    -------
    source
        The remaining images, including those that cannot be read, so that they get reported.
    dropped
        The name of each duplicate, and of the image that it equals.
    """
    sizes: dict[int | None, int] = {}
    for index in range(len(source)):
        size = source.size(index)
        sizes[size] = sizes.get(size, 0) + 1
    first: dict[bytes, str] = {}
    kept: list[int] = []
    dropped: list[tuple[str, str]] = []
    for index, name in enumerate(source.names):
        if progress:
            progress(index, len(source))
        size = source.size(index)
        if size is None or sizes[size] > 1:
            try:
                digest = hashlib.blake2b(source.content(index), digest_size=20).digest()
            except ImageError:
                kept.append(index)
                continue
            if digest in first:
                dropped.append((name, first[digest]))
                continue
            first[digest] = name
        kept.append(index)
    return (Selection(source, kept) if dropped else source), tuple(dropped)
