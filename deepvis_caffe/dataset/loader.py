"""Images read and prepared beside the net: ``(source, prepare, indices) -> batches in order``.

OpenCV and numpy leave Python's lock while they work, so threads decode while the net computes, and
nothing has to be sent between processes. Only a few batches are ahead of the net at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import DeepVisError, ImageError
from deepvis_caffe.model.preprocess import Preprocessor

Floats = NDArray[np.float32]


@dataclass
class Batch:
    """Images that are ready for the net, in order, and those on the way that were no images.

    Attributes
    ----------
    indices, labels
        Of each image that is there.
    x
        Their inputs, (N, C, H, W).
    skipped
        (index, why) of what could not be read.
    """

    indices: list[int] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    images: list[Floats] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)

    @property
    def x(self) -> Floats:
        """The net's input."""
        return np.stack(self.images)

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
) -> Iterator[Batch]:
    """Batches of `batch_size` images, the last one of fewer.

    Parameters
    ----------
    threads
        How many decode; the batches do not depend on it.
    """

    def prepare(index: int) -> tuple[Floats, int | None]:
        return prepared(source, preprocessor, index), source.label(index)

    batch = Batch()
    for index, got in in_order(prepare, indices, threads, ahead=2 * batch_size):
        if isinstance(got, str):
            batch.skipped.append((index, got))
            continue
        image, label = got
        batch.indices.append(index)
        batch.labels.append(label)
        batch.images.append(image)
        if len(batch.images) == batch_size:
            yield batch
            batch = Batch()
    if batch.seen:
        yield batch


def prepared(source: Source, preprocessor: Preprocessor, index: int) -> Floats:
    """One image as the net's input.

    Raises
    ------
    ImageError
        It cannot be read, or holds values that are no numbers.
    """
    image = source.read(index)
    x = image if source.prepared else preprocessor(image)
    if x.shape != preprocessor.shape:
        raise ImageError(f"it has shape {x.shape}, and the net's input {preprocessor.shape}")
    if not np.isfinite(x).all():
        raise ImageError("it holds values that are NaN or infinite")
    return np.asarray(x, np.float32)


def in_order(
    work: Callable[[int], Any], indices: Iterable[int], threads: int, ahead: int
) -> Iterator[tuple[int, Any]]:
    """``(index, work(index))`` in order, or the reason in words where there is no such image.

    Parameters
    ----------
    ahead
        The most results that wait at a time.
    """
    waiting: deque[tuple[int, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for index in indices:
            waiting.append((index, pool.submit(_reason, work, index)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _reason(work: Callable[[int], Any], index: int) -> Any:
    try:
        return work(index)
    except DeepVisError as error:
        if isinstance(error, ImageError):
            return str(error)
        raise
