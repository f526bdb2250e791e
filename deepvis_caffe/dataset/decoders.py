"""Decoding in processes: ``(source, preprocessor) -> (indices -> batches)``.

Threads that decode compete with the net for Python's GIL: Caffe holds it during a whole forward
pass, and a GPU idles while the host waits for it between two calls. Processes do not. They decode
into shared memory, so that only the location of an image is sent.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from math import prod
from types import TracebackType
from typing import Any

import numpy as np

from deepvis_caffe.cluster.cores import share
from deepvis_caffe.cluster.process import SPAWN, live_with_parent, starting_workers
from deepvis_caffe.dataset.loader import Batch, chunks, try_load
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ClusterError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.preprocess import Preprocessor

CHUNK = 8  # images that a process decodes at a time
FEWEST = 256  # images for which starting processes, about a second, pays off
TRIES = 3  # maximum number of times in a row that a process may die

Answer = int | None | str  # an image's label, or why it cannot be used


def processes_pay_off(net: Net, source: Source, count: int) -> bool:
    """Whether `count` decoding processes are faster than threads for a pass.

    They are not for a net that runs in several threads, each of which decodes its own images.
    """
    daemon = multiprocessing.current_process().daemon  # Dask's workers may not start processes
    return (
        not net.reentrant
        and count > 1
        and len(source) >= FEWEST
        and not source.in_one_stream
        and not daemon
    )


@dataclass
class _Task:
    """A chunk of images being decoded, and their slot in the shared memory."""

    indices: tuple[int, ...]
    slot: int
    answers: Future[list[Answer]]


class Decoders:
    """Processes that load a source's images; a context manager that ends them.

    They start with the first batch. One that dies is replaced, and its images are loaded again.

    Parameters
    ----------
    source, preprocessor
        The images, and their preprocessor.
    count
        Number of processes.
    batch_size
        Maximum batch size.
    following
        The indices of the next call to :meth:`batches`, by the index after the last one of the
        current call. They are started ahead of time.
    """

    def __init__(
        self,
        source: Source,
        preprocessor: Preprocessor,
        count: int,
        batch_size: int,
        following: Mapping[int, Iterable[int]] | None = None,
    ) -> None:
        self._job = source, preprocessor
        self._count, self._batch_size, self._following = count, batch_size, following or {}
        self._shape = tuple(preprocessor.shape)
        # For the batch that the net reads, the chunks being decoded, and those queued.
        slots = -(-batch_size // CHUNK) + 1 + 2 * count
        self._memory = SPAWN.RawArray("f", slots * CHUNK * prod(self._shape))
        self._free = deque(range(slots))
        self._begun: deque[_Task] = deque()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for task in self._begun:
            task.answers.cancel()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def batches(self, indices: Iterable[int]) -> Generator[Batch, None, None]:
        """Load batches of images, in order; the last one may be smaller.

        The images are in shared memory, which is reused when the next batch is requested.

        Raises
        ------
        ClusterError
            Processes keep dying.
        """
        wanted = list(chunks(indices, CHUNK))
        after = self._following.get(wanted[-1][-1] + 1, ()) if wanted else ()
        coming = chain(wanted, chunks(after, CHUNK))
        self._forget_unless(coming, wanted)
        batch = Batch()
        used: list[int] = []  # the slots of the batch's images
        try:
            for _ in wanted:
                self._begin(coming)
                task, answers = self._finish()
                images = _slot(self._memory, self._shape, task.slot)
                now = [task.slot]
                if any(isinstance(answer, str) for answer in answers):
                    # The slots only suffice for a batch of full chunks: copy this one out.
                    images = images.copy()
                    self._free.append(task.slot)
                    now = []
                used += now
                for index, image, answer in zip(task.indices, images, answers, strict=False):
                    batch.add(index, answer if isinstance(answer, str) else (image, answer))
                    if len(batch.images) == self._batch_size:
                        yield batch
                        batch = Batch()
                        self._free.extend(set(used).difference(now))
                        used = now
            if batch.seen:
                yield batch
        finally:
            self._free.extend(used)

    def _forget_unless(self, coming: Iterator[list[int]], wanted: list[list[int]]) -> None:
        """Keep the chunks started ahead if they are the ones wanted now; otherwise discard them."""
        begun = [list(task.indices) for task in self._begun]
        if begun == wanted[: len(begun)]:
            for _ in begun:
                next(coming)
            return
        while self._begun:
            self._free.append(self._finish()[0].slot)

    def _begin(self, coming: Iterator[list[int]]) -> None:
        """Start as many chunks as there are free slots."""
        while self._free and (chunk := next(coming, None)) is not None:
            self._submit(tuple(chunk), self._free.popleft())

    def _submit(self, indices: tuple[int, ...], slot: int) -> None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._count, SPAWN, _start, (*self._job, self._memory))
        try:
            with starting_workers(share(0, threads=1)):  # the pool starts them as it needs them
                answers = self._pool.submit(_decode, indices, slot)
        except BrokenProcessPool as error:
            answers = Future()
            answers.set_exception(error)
        self._begun.append(_Task(indices, slot, answers))

    def _finish(self) -> tuple[_Task, list[Answer]]:
        """Wait for the chunk that was started first."""
        for _ in range(TRIES):
            try:
                answers = self._begun[0].answers.result()
                return self._begun.popleft(), answers
            except BrokenProcessPool:
                self._begin_again()
        first = self._begun[0].indices[0]
        raise ClusterError(
            f"{TRIES} processes in a row died while decoding images, from "
            f"{self._job[0].names[first]} on; the usual reason is memory: try fewer workers (in a "
            "script of your own, start the work under `if __name__ == '__main__':`)"
        )

    def _begin_again(self) -> None:
        """Restart everything unfinished in new processes; the old ones ended together."""
        assert self._pool is not None
        self._pool.shutdown()
        self._pool = None
        for _ in range(len(self._begun)):
            task = self._begun.popleft()
            self._submit(task.indices, task.slot)


# -- in each of the processes ------------------------------------------------------------------

_read: Callable[[tuple[int, ...], int], list[Answer]]


def _start(source: Source, preprocessor: Preprocessor, memory: Any) -> None:
    """Initialize a process."""
    import cv2

    global _read
    live_with_parent()
    cv2.setNumThreads(1)
    shape = tuple(preprocessor.shape)

    def read(indices: tuple[int, ...], slot: int) -> list[Answer]:
        answers: list[Answer] = []
        for index, place in zip(indices, _slot(memory, shape, slot), strict=False):
            loaded = try_load(source, preprocessor, index)
            if isinstance(loaded, str):
                answers.append(loaded)
            else:
                place[...], label = loaded
                answers.append(label)
        return answers

    _read = read


def _decode(indices: tuple[int, ...], slot: int) -> list[Answer]:
    return _read(indices, slot)


def _slot(memory: Any, shape: tuple[int, ...], slot: int) -> Floats:
    """The images of a slot, (`CHUNK`, C, H, W), in the shared memory."""
    size = CHUNK * prod(shape)
    return np.frombuffer(memory, np.float32, size, 4 * size * slot).reshape(CHUNK, *shape)
