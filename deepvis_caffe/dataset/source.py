"""Where images come from: ``Source``: names in order, and ``index -> picture``.

A source's images are always in the order of their names, so that an image's index says how ties
are broken, whatever the folder, database or file listed first.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError
from deepvis_caffe.progress import ProgressCallback


class Source(abc.ABC):
    """Images by index, each with a name that is its own.

    Any number of threads may read at a time; other processes get a pickle.

    Attributes
    ----------
    names
        Of every image, ascending, each once.
    prepared
        Whether :meth:`read` gives the net's input, (C, H, W), in place of pictures.
    in_one_stream
        Whether images are read one after another: several readers would each read all of them.
    """

    kind: ClassVar[str]
    prepared: bool = False
    in_one_stream: bool = False
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @abc.abstractmethod
    def read(self, index: int) -> NDArray[Any]:
        """One picture, RGB, as `Preprocessor` takes it; or the net's input where it is `prepared`.

        Raises
        ------
        ImageError
            It is damaged, or gone.
        """

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """As :meth:`read`; perhaps a smaller copy, neither side of which is shorter than `side`."""
        return self.read(index)

    @abc.abstractmethod
    def label(self, index: int) -> int | None:
        """The number of its class, None where that is not known."""

    @abc.abstractmethod
    def content(self, index: int) -> bytes:
        """What it is made of: the same bytes are the same image.

        Raises
        ------
        ImageError
            It is gone.
        """

    def size(self, index: int) -> int | None:
        """Bytes of its :meth:`content`, where that is known without reading it."""
        return None

    def file(self, index: int) -> Path | None:
        """The file that this image is, whole; None where it is a part of one."""
        return None

    def signature(self) -> str:
        """A digest that another listing of images does not have."""
        digest = hashlib.blake2b(self.kind.encode(), digest_size=16)
        for index, name in enumerate(self.names):
            digest.update(f"{name}\0{self.size(index)}\0{self._known_label(index)}\n".encode())
        return digest.hexdigest()

    def _known_label(self, index: int) -> int | None:
        """Its label, where that is known without reading it."""
        return self.label(index)


class Selection(Source):
    """Some images of a source.

    Parameters
    ----------
    source
        All of them.
    indices
        Which, ascending.
    """

    kind = "selection"

    def __init__(self, source: Source, indices: Iterable[int]) -> None:
        self._source, self._indices = source, tuple(indices)
        self.prepared, self.in_one_stream = source.prepared, source.in_one_stream
        self.names = [source.names[index] for index in self._indices]

    def read(self, index: int) -> NDArray[Any]:
        """As the source's."""
        return self._source.read(self._indices[index])

    def read_small(self, index: int, side: int) -> NDArray[Any]:
        """As the source's."""
        return self._source.read_small(self._indices[index], side)

    def label(self, index: int) -> int | None:
        """As the source's."""
        return self._source.label(self._indices[index])

    def content(self, index: int) -> bytes:
        """As the source's."""
        return self._source.content(self._indices[index])

    def size(self, index: int) -> int | None:
        """As the source's."""
        return self._source.size(self._indices[index])

    def file(self, index: int) -> Path | None:
        """As the source's."""
        return self._source.file(self._indices[index])

    def _known_label(self, index: int) -> int | None:
        return self._source._known_label(self._indices[index])


def every(source: Source, step: int) -> Source:
    """The first image of a source and every `step`-th after it."""
    return source if step == 1 else Selection(source, range(0, len(source), step))


def unique(
    source: Source, progress: ProgressCallback | None = None
) -> tuple[Source, tuple[tuple[str, str], ...]]:
    """The source without exact duplicates, of which the first name stays.

    Only images whose content has the size of another's are read.

    Parameters
    ----------
    progress
        Called with the images that were looked at and that there are.

    Returns
    -------
    source
        The images that stay; those that cannot be read are among them, so that they are reported.
    dropped
        The name of each duplicate, and of the image that it is the same as.
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
