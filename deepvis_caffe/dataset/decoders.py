"""Images decoded in processes beside a net: ``(source, preprocessor) -> (indices -> batches)``.

A net that computes in this process's Python, or drives a GPU from it, shares Python's lock with
threads that decode: Caffe holds it through a whole forward pass, and a GPU waits for it between two
calls. Processes decode into memory that all of them see, so that nothing is sent but where it lies.
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
from deepvis_caffe.cluster.process import SPAWN, live_with_parent, quiet_start
from deepvis_caffe.dataset.loader import Batch, Floats, pieces, prepare
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ClusterError
from deepvis_caffe.model.preprocess import Preprocessor

PIECE = 8  # images that a process decodes at a time
FEWEST = 256  # images for which it is worth a second to start processes
TRIES = 3  # how often in turn a process may die

Answer = int | None | str  # of an image that is there its label; else why it is not


def worth_decoders(net: Net, source: Source, count: int) -> bool:
    """Whether so many processes would serve a pass better than threads do.

    Not beside a net that runs in several threads at a time: those decode for themselves.
    """
    daemon = multiprocessing.current_process().daemon  # Dask's workers are: no processes for them
    return (
        not net.reentrant
        and count > 1
        and len(source) >= FEWEST
        and not source.in_one_stream
        and not daemon
    )


@dataclass
class _Ticket:
    """Images that somebody decodes."""

    indices: tuple[int, ...]
    slot: int
    answers: Future[list[Answer]]


class Decoders:
    """Processes that read a source's images and prepare them; a context manager that ends them.

    They start with the first batch. One that dies is replaced, and its images are read anew.

    Parameters
    ----------
    source, preprocessor
        What is read, and what makes the net's input of it.
    count
        How many processes.
    batch_size
        The most images of a batch.
    following
        By the index after the last of :meth:`batches`, those that will be asked for next: they
        are begun with before they are.
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
        # A batch that is read, what is decoded next, and what waits.
        slots = -(-batch_size // PIECE) + 1 + 2 * count
        self._memory = SPAWN.RawArray("f", slots * PIECE * prod(self._shape))
        self._free = deque(range(slots))
        self._begun: deque[_Ticket] = deque()
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
        for ticket in self._begun:
            ticket.answers.cancel()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def batches(self, indices: Iterable[int]) -> Generator[Batch, None, None]:
        """Those images in order; the last batch is of fewer.

        A batch's images lie in shared memory, and are gone when the next one is asked for.

        Raises
        ------
        ClusterError
            Processes die again and again.
        """
        wanted = list(pieces(indices, PIECE))
        after = self._following.get(wanted[-1][-1] + 1, ()) if wanted else ()
        coming = chain(wanted, pieces(after, PIECE))
        self._forget_unless(coming, wanted)
        batch = Batch()
        used: list[int] = []  # where the batch's images lie
        try:
            for _ in wanted:
                self._begin(coming)
                ticket, answers = self._finish()
                images = _slot(self._memory, self._shape, ticket.slot)
                now = [ticket.slot]
                if any(isinstance(answer, str) for answer in answers):
                    # A batch has room for the pieces that it is full in, not for bits of many.
                    images = images.copy()
                    self._free.append(ticket.slot)
                    now = []
                used += now
                for index, image, answer in zip(ticket.indices, images, answers, strict=False):
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
        """Go on with what was begun if it is what is wanted now; else let it go."""
        begun = [list(ticket.indices) for ticket in self._begun]
        if begun == wanted[: len(begun)]:
            for _ in begun:
                next(coming)
            return
        while self._begun:
            self._free.append(self._finish()[0].slot)

    def _begin(self, coming: Iterator[list[int]]) -> None:
        """Have as much decoded as there is room for."""
        while self._free and (piece := next(coming, None)) is not None:
            self._submit(tuple(piece), self._free.popleft())

    def _submit(self, indices: tuple[int, ...], slot: int) -> None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._count, SPAWN, _start, (*self._job, self._memory))
        try:
            with quiet_start(share(0, threads=1)):  # the pool starts processes as it needs them
                answers = self._pool.submit(_decode, indices, slot)
        except BrokenProcessPool as error:
            answers = Future()
            answers.set_exception(error)
        self._begun.append(_Ticket(indices, slot, answers))

    def _finish(self) -> tuple[_Ticket, list[Answer]]:
        """The first piece that was begun, when it is done."""
        for _ in range(TRIES):
            try:
                answers = self._begun[0].answers.result()
                return self._begun.popleft(), answers
            except BrokenProcessPool:
                self._begin_again()
        first = self._begun[0].indices[0]
        raise ClusterError(
            f"{TRIES} processes in turn died while they decoded images, from "
            f"{self._job[0].names[first]} on; the usual reason is memory: try fewer workers (in a "
            "script of your own, start the work under `if __name__ == '__main__':`)"
        )

    def _begin_again(self) -> None:
        """All that is not done, by new processes: those of before have ended together."""
        assert self._pool is not None
        self._pool.shutdown()
        self._pool = None
        for _ in range(len(self._begun)):
            ticket = self._begun.popleft()
            self._submit(ticket.indices, ticket.slot)


# -- in each of the processes ------------------------------------------------------------------

_read: Callable[[tuple[int, ...], int], list[Answer]]


def _start(source: Source, preprocessor: Preprocessor, memory: Any) -> None:
    """Once in each process."""
    import cv2

    global _read
    live_with_parent()
    cv2.setNumThreads(1)
    shape = tuple(preprocessor.shape)

    def read(indices: tuple[int, ...], slot: int) -> list[Answer]:
        answers: list[Answer] = []
        for index, place in zip(indices, _slot(memory, shape, slot), strict=False):
            got = prepare(source, preprocessor, index)
            if isinstance(got, str):
                answers.append(got)
            else:
                place[...], label = got
                answers.append(label)
        return answers

    _read = read


def _decode(indices: tuple[int, ...], slot: int) -> list[Answer]:
    return _read(indices, slot)


def _slot(memory: Any, shape: tuple[int, ...], slot: int) -> Floats:
    """(`PIECE`, C, H, W), in the memory that all see."""
    size = PIECE * prod(shape)
    return np.frombuffer(memory, np.float32, size, 4 * size * slot).reshape(PIECE, *shape)
