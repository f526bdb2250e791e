"""Loading: ``(source, preprocessor, indices) -> batches`` of net inputs, in order.

Threads decode a few batches ahead of the net; OpenCV and numpy release Python's GIL while they
work. For a net that holds the GIL, processes decode instead: `deepvis_caffe.dataset.decoders`.

`ImageCache` keeps the most recently used images. The units of a layer share many of their top
images, and decoding one takes as long as running it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.arrays import NumpyOps
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.preprocess import Preprocessor

# A large JPEG is decoded at a reduced size, at least this many times the net's input. This is four
# times as fast, and changes the input by a fifth of a gray level of 255 on average.
OVERSAMPLING = 3
Item = TypeVar("Item")
Result = TypeVar("Result")
Loaded = tuple[Floats, int | None] | str  # an image's input and label, or why it is unusable


@dataclass
class Batch:
    """Images ready for the net, in order, and those that could not be read.

    Attributes
    ----------
    indices, labels, images
        The index in the source, the class and the net's input (C, H, W) of each image.
    skipped
        (index, reason) of the images that could not be read.
    """

    indices: list[int] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    images: list[Floats] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)

    def add(self, index: int, loaded: Loaded) -> None:
        """Add an image, or the reason why it is skipped."""
        if isinstance(loaded, str):
            self.skipped.append((index, loaded))
            return
        image, label = loaded
        self.indices.append(index)
        self.labels.append(label)
        self.images.append(image)

    @property
    def seen(self) -> int:
        """The number of images that were read or skipped."""
        return len(self.indices) + len(self.skipped)


def check_prepared(source: Source, preprocessor: Preprocessor) -> None:
    """Check that a source of prepared inputs fits the net.

    Raises
    ------
    ImageError
        Its inputs have another shape than the net's input.
    """
    shape = getattr(source, "shape", None)
    if source.prepared and shape is not None and shape != preprocessor.shape:
        wanted = tuple(preprocessor.shape)
        last = (*shape[-1:], *shape[:-1]) == wanted
        raise ImageError(
            f"the images are inputs of shape {shape}, but the net's input is {wanted}"
            + ("; channels come first: data.transpose(0, 3, 1, 2) puts them there" if last else "")
        )


def load_batches(
    source: Source,
    preprocessor: Preprocessor,
    indices: Iterable[int],
    batch_size: int,
    threads: int,
) -> Generator[Batch, None, None]:
    """Load batches of `batch_size` images; the last one may be smaller.

    Parameters
    ----------
    threads
        Number of threads that decode; the batches do not depend on it.
    """
    work = partial(try_load, source, preprocessor)
    batch = Batch()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for index, loaded in ordered_map(work, indices, pool, ahead=2 * batch_size):
            batch.add(index, loaded)
            if len(batch.images) == batch_size:
                yield batch
                batch = Batch()
    if batch.seen:
        yield batch


def load_batch(source: Source, preprocessor: Preprocessor, indices: Iterable[int]) -> Batch:
    """Load one batch of images in this thread."""
    batch = Batch()
    for index in indices:
        batch.add(index, try_load(source, preprocessor, index))
    return batch


def try_load(source: Source, preprocessor: Preprocessor, index: int) -> Loaded:
    """An image's input and label, or the reason why it cannot be used."""
    try:
        return load_input(source, preprocessor, index), source.label(index)
    except ImageError as error:
        return str(error)


def load_input(source: Source, preprocessor: Preprocessor, index: int) -> Floats:
    """Load one image as the net's input.

    Raises
    ------
    ImageError
        It cannot be read, or holds values that are not finite.
    """
    return to_input(source.read_small(index, min_side(preprocessor)), source, preprocessor)


def min_side(preprocessor: Preprocessor) -> int:
    """The minimum length of a reduced image's shorter side, in pixels; see `OVERSAMPLING`."""
    return OVERSAMPLING * max(preprocessor.resized_size)


def to_input(image: NDArray[Any], source: Source, preprocessor: Preprocessor) -> Floats:
    """Convert what a source read to the net's input, checked as in `load_input`."""
    x = image if source.prepared else preprocessor(image)
    if x.shape != preprocessor.shape:
        raise ImageError(f"it has shape {x.shape}, but the net's input is {preprocessor.shape}")
    if not np.isfinite(x).all():
        raise ImageError("it holds values that are NaN or infinite")
    return np.asarray(x, np.float32)


def chunks(indices: Iterable[int], size: int) -> Iterator[list[int]]:
    """Lists of `size` indices; the last one may be shorter."""
    left = iter(indices)
    while chunk := list(islice(left, size)):
        yield chunk


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], pool: Executor, ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Yield ``(item, work(item))`` in order, while a pool works on the items ahead.

    Parameters
    ----------
    ahead
        Maximum number of items that are started but not yet yielded.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


MOST = 2**30  # bytes: about 850 pictures of 500 x 375 with inputs of 227 x 227
UNKNOWN = 2**28  # bytes, if the amount of free memory is unknown
SHARE = 8  # the cache takes at most the free memory divided by this


class ImageCache:
    """Loads a source's images, and keeps the most recently used ones.

    Thread-safe.

    Parameters
    ----------
    source
        The images.
    preprocessor
        Converts them to the net's input.
    capacity
        Maximum size in bytes; 0 keeps nothing.
    """

    def __init__(self, source: Source, preprocessor: Preprocessor, capacity: int = 0) -> None:
        self._source, self._preprocessor, self._capacity = source, preprocessor, capacity
        self._kept: OrderedDict[int, tuple[NDArray[Any], Floats]] = OrderedDict()
        self._taken = 0
        self._lock = Lock()

    def load(self, index: int) -> tuple[NDArray[Any], Floats]:
        """Load one image: as `Source.read` returns it, and as the net's input in a scan.

        Neither array may be written to.

        Raises
        ------
        ImageError
            The image is damaged or missing.
        """
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        image = small = self._source.read(index)
        side = min_side(self._preprocessor)
        if min(image.shape[:2]) >= 2 * side:  # the scan may have read a smaller copy
            small = self._source.read_small(index, side)
        found = image, to_input(small, self._source, self._preprocessor)
        self._keep(index, found)
        return found

    def _keep(self, index: int, found: tuple[NDArray[Any], Floats]) -> None:
        with self._lock:
            if index in self._kept or _size(found) > self._capacity:
                return
            self._kept[index] = found
            self._taken += _size(found)
            while self._taken > self._capacity:
                _, dropped = self._kept.popitem(last=False)
                self._taken -= _size(dropped)


def default_cache_size(processes: int = 1) -> int:
    """The capacity of each cache, in bytes, if `processes` on this machine have one."""
    free = NumpyOps().free_memory()
    return UNKNOWN if free is None else min(MOST, free // SHARE // processes)


def _size(found: tuple[NDArray[Any], Floats]) -> int:
    return sum(array.nbytes for array in found)
