"""Images read and prepared for a net: ``(source, preprocessor, indices) -> batches in order``.

Here by threads: OpenCV and numpy leave Python's lock while they work. Where the net holds it, or
must not wait for it, there are processes instead: `deepvis_caffe.dataset.decoders`. Only a few
batches are ahead of the net at any time.

The units of a layer share many of their strongest images, and decoding one takes as long as running
it. Those used last are kept. Where a dataset is much larger than the room, units share few images
that are still there, and each is read again about as often as it is shown.
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
from deepvis_caffe.model.preprocess import Preprocessor

Floats = NDArray[np.float32]
# A camera's JPEG is decoded at a part of its size that is still so many times the net's: the input
# then differs by a fifth of a gray level of 255 on average, and comes four times as fast.
FINER = 3
Item = TypeVar("Item")
Result = TypeVar("Result")
Got = tuple[Floats, int | None] | str  # an image's input and label, or why it is no image


@dataclass
class Batch:
    """Images that are ready for the net, in order, and those on the way that were no images.

    Attributes
    ----------
    indices, labels, images
        Of each image that is there: its place in the source, its class, the net's input (C, H, W).
    skipped
        (index, why) of what could not be read.
    """

    indices: list[int] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    images: list[Floats] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)

    def add(self, index: int, got: Got) -> None:
        """One more."""
        if isinstance(got, str):
            self.skipped.append((index, got))
            return
        image, label = got
        self.indices.append(index)
        self.labels.append(label)
        self.images.append(image)

    @property
    def seen(self) -> int:
        """How many images this accounts for."""
        return len(self.indices) + len(self.skipped)


def check_prepared(source: Source, preprocessor: Preprocessor) -> None:
    """Refuse a source whose prepared inputs are not this net's.

    Raises
    ------
    ImageError
        Their shape is another.
    """
    shape = getattr(source, "shape", None)
    if source.prepared and shape is not None and shape != preprocessor.shape:
        raise ImageError(
            f"the images are inputs of shape {shape}, and the net's input is "
            f"{tuple(preprocessor.shape)}"
        )


def load_batches(
    source: Source,
    preprocessor: Preprocessor,
    indices: Iterable[int],
    batch_size: int,
    threads: int,
) -> Generator[Batch, None, None]:
    """Batches of `batch_size` images, the last one of fewer.

    Parameters
    ----------
    threads
        How many decode; the batches do not depend on it.
    """
    work = partial(prepare, source, preprocessor)
    batch = Batch()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for index, got in in_order(work, indices, pool, ahead=2 * batch_size):
            batch.add(index, got)
            if len(batch.images) == batch_size:
                yield batch
                batch = Batch()
    if batch.seen:
        yield batch


def load_batch(source: Source, preprocessor: Preprocessor, indices: Iterable[int]) -> Batch:
    """Those images of a source, read in this thread."""
    batch = Batch()
    for index in indices:
        batch.add(index, prepare(source, preprocessor, index))
    return batch


def prepare(source: Source, preprocessor: Preprocessor, index: int) -> Got:
    """An image's input and label, or the reason in words where there is no such image."""
    try:
        return prepared(source, preprocessor, index), source.label(index)
    except ImageError as error:
        return str(error)


def prepared(source: Source, preprocessor: Preprocessor, index: int) -> Floats:
    """One image as the net's input.

    Raises
    ------
    ImageError
        It cannot be read, or holds values that are no numbers.
    """
    return as_input(source.read_small(index, least_side(preprocessor)), source, preprocessor)


def least_side(preprocessor: Preprocessor) -> int:
    """How long, in pixels, the shorter side of a smaller copy has to be; see `FINER`."""
    return FINER * max(preprocessor.shape[1:])


def as_input(image: NDArray[Any], source: Source, preprocessor: Preprocessor) -> Floats:
    """What a source read as the net's input, checked as in `prepared`."""
    x = image if source.prepared else preprocessor(image)
    if x.shape != preprocessor.shape:
        raise ImageError(f"it has shape {x.shape}, and the net's input {preprocessor.shape}")
    if not np.isfinite(x).all():
        raise ImageError("it holds values that are NaN or infinite")
    return np.asarray(x, np.float32)


def pieces(indices: Iterable[int], size: int) -> Iterator[list[int]]:
    """So many at a time, and the rest."""
    left = iter(indices)
    while piece := list(islice(left, size)):
        yield piece


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], pool: Executor, ahead: int
) -> Iterator[tuple[Item, Result]]:
    """``(item, work(item))`` in order, worked on in a pool.

    Parameters
    ----------
    ahead
        The most results that wait at a time.
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


MOST = 2**30  # bytes: some 850 pictures of 500 x 375 with inputs of 227 x 227
UNKNOWN = 2**28  # ... where the system does not tell how much is free
SHARE = 8  # of the free memory, a part of so many


class DecodedImages:
    """A source's images, those used last kept.

    Any number of threads may load at a time.

    Parameters
    ----------
    source
        Where they come from.
    preprocessor
        What makes the net's input of them.
    room
        Bytes that the kept ones may take; none are kept where it is 0.
    """

    def __init__(self, source: Source, preprocessor: Preprocessor, room: int = 0) -> None:
        self._source, self._preprocessor, self._room = source, preprocessor, room
        self._kept: OrderedDict[int, tuple[NDArray[Any], Floats]] = OrderedDict()
        self._taken = 0
        self._lock = Lock()

    def load(self, index: int) -> tuple[NDArray[Any], Floats]:
        """One image: whole, as `Source.read` gives it, and as the net's input, as a scan has it.

        Neither array may be written to.

        Raises
        ------
        ImageError
            It is damaged, or gone.
        """
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        image = small = self._source.read(index)
        side = least_side(self._preprocessor)
        if min(image.shape[:2]) >= 2 * side:  # the scan may have read a smaller copy
            small = self._source.read_small(index, side)
        found = image, as_input(small, self._source, self._preprocessor)
        self._keep(index, found)
        return found

    def _keep(self, index: int, found: tuple[NDArray[Any], Floats]) -> None:
        with self._lock:
            if index in self._kept or _size(found) > self._room:
                return
            self._kept[index] = found
            self._taken += _size(found)
            while self._taken > self._room:
                _, dropped = self._kept.popitem(last=False)
                self._taken -= _size(dropped)


def usual_room(processes: int = 1) -> int:
    """Bytes for decoded images in each of so many processes of this machine."""
    free = NumpyOps().free_memory()
    return UNKNOWN if free is None else min(MOST, free // SHARE // processes)


def _size(found: tuple[NDArray[Any], Floats]) -> int:
    return sum(array.nbytes for array in found)
