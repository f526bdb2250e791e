"""The worker thread, which owns the net: the newest frame and request first, then idle work.

It never blocks callers. Only the newest frame and the newest request are kept, and results go into
a latest-value slot. A single thread runs the net, because pycaffe's CPU or GPU mode is per thread;
but where the engine allows it, a second thread computes every other frame of a stream.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from deepvis_caffe.errors import in_words
from deepvis_caffe.viewer.state.request import Frame, Request, Result
from deepvis_caffe.viewer.threads import Background, Newest

log = logging.getLogger(__name__)

Pause = Callable[[], bool]

# By how much the priority of the net's threads is lowered, see nice(2): enough to keep keys
# responsive, but not so much that other programs take the net's cores.
NICE = 2
IDLE = 0.2  # seconds between two polls for idle work
# The shortest time between the starts of two frames, as a part of the time that one takes. Without
# it the later one might overtake the other, which is then never shown.
APART = 0.45


class Idle(Protocol):
    """Work to be done between frames."""

    def __call__(self, between: Pause) -> bool:
        """Work until there is nothing left to do, or until `between` returns True.

        `between` must be called after every step. Returns whether anything was done.
        """


class Pairs(Protocol):
    """Computes two frames at once; see `deepvis_caffe.viewer.compute.pairs`.

    Its methods are called under the worker's lock; what `computation` returns is not.
    """

    def came(self, frame: Frame, now: float) -> None:
        """Called with each new frame, and the time in seconds."""

    def allowed(self, frame: Frame, request: Request) -> bool:
        """Whether this frame may be computed while another one is."""

    def saw(self, result: Result, paired: bool) -> None:
        """Called with each result."""

    def computation(self, which: int) -> Callable[[Frame, Request], Result]:
        """What computes a frame on the first thread (0) or the second one (1)."""


class _Job(NamedTuple):
    """A frame that a thread computes."""

    order: int
    frame: Frame
    request: Request
    begun: float
    paired: bool


class Worker:
    """Computes results for the newest frame on a thread of its own, or on two.

    Parameters
    ----------
    compute
        ``(frame, request) -> result``; called on the worker thread only.
    results
        The slot for results.
    changed
        Called on a worker thread when there is a new result or an error.
    idle
        Work to be done between frames, if any. It calls the function that it is given between its
        steps; a frame that has arrived meanwhile is computed within that call.
    prepare
        Called first, on the worker thread, at normal priority; it may take long. If it fails,
        nothing is computed.
    pairs
        Computes two frames of a stream at once, where it allows that. Their results are delivered
        in order: a frame that was overtaken by a newer one has none.

    Attributes
    ----------
    error
        The exception that `prepare` raised.
    """

    def __init__(
        self,
        compute: Callable[[Frame, Request], Result],
        results: Newest[Result],
        changed: Callable[[], None] = lambda: None,
        idle: Idle | None = None,
        prepare: Callable[[], object] = lambda: None,
        pairs: Pairs | None = None,
    ) -> None:
        self._compute, self._results, self._changed, self._idle = compute, results, changed, idle
        self._prepare, self._pairs = prepare, pairs
        self.error: Exception | None = None
        runs = [self._run] if pairs is None else [self._run, partial(self._run_second, pairs)]
        self._thread = Background("worker", *runs)
        self._news = self._thread.news
        self._frame: Frame | None = None
        self._request: Request | None = None
        self._begun: _Job | None = None  # the last job that was begun, and the last one done
        self._done: _Job | None = None
        self._first: _Job | None = None  # that the first thread computes
        self._second_is_busy = False
        self._seconds = 0.0  # that the last frame took
        self._trouble = self._failure = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def show(self, frame: Frame) -> None:
        """Set the newest frame."""
        with self._news:
            if self._pairs is not None and frame is not self._frame:
                self._pairs.came(frame, time.monotonic())
            self._frame = frame
            self._news.notify_all()

    def request(self, request: Request) -> None:
        """Set the request for all frames from now on."""
        with self._news:
            if request != self._request:
                self._request = request
                self._news.notify_all()

    def nudge(self) -> None:
        """Wake the thread up to poll for idle work now."""
        with self._news:
            self._news.notify_all()

    @property
    def busy(self) -> bool:
        """Whether the newest frame or request has no result yet."""
        with self._news:
            return self._wanted_after(self._done) is not None

    @property
    def trouble(self) -> str:
        """The last error of a frame or of idle work; empty again after a successful result."""
        return self._trouble

    @property
    def failure(self) -> str:
        """Why the last frame has no result; empty if it has one."""
        return self._failure

    def close(self, timeout: float = 10.0) -> bool:
        """End the thread after its current work; return whether it ended in time."""
        ended = self._thread.close(timeout)
        if not ended:
            log.warning("the engine is still busy after %g seconds; thread abandoned", timeout)
        return ended

    # -- on the worker thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._prepare()
        except Exception as error:
            self.error = error
            self._changed()
            return
        _lower_priority()
        while not self._thread.closing:
            if self._serve():
                continue
            worked = False
            if self._idle is not None:
                try:
                    worked = self._idle(self._between)
                except Exception as error:  # idle work must not end the viewer
                    self._trouble = _describe(error)
                    self._changed()
            with self._news:
                waits = not worked and not self._thread.closing
                if waits and self._wanted_after(self._begun) is None:
                    self._news.wait(IDLE if self._idle else None)

    def _between(self) -> bool:
        """Compute what has arrived meanwhile; return whether idle work should stop."""
        while not self._thread.closing and self._serve():
            pass
        return self._thread.closing

    def _serve(self) -> bool:
        """Compute the newest frame and request, or wait for the second thread, which uses the net.

        Returns False if nothing is pending and the net is free.
        """
        pairs, compute = self._pairs, self._compute
        with self._news:
            wanted = self._wanted_after(self._begun)
            paired = bool(wanted and pairs and pairs.allowed(*wanted))
            if self._second_is_busy:
                wait = self._seconds_apart() if paired else None
                if wait != 0:
                    self._news.wait(wait)
                    return True
            if wanted is None:
                return False
            if pairs and paired:
                compute = pairs.computation(0)
            job = self._first = self._begin(*wanted, paired)
            self._news.notify_all()
        self._finish(job, compute)
        return True

    def _run_second(self, pairs: Pairs) -> None:
        _lower_priority()
        while True:
            with self._news:
                if self._thread.closing:
                    return
                beside = self._first is not None and self._first.paired
                wanted = self._wanted_after(self._begun) if beside else None
                wait = self._seconds_apart() if wanted and pairs.allowed(*wanted) else None
                if wanted is None or wait != 0:
                    self._news.wait(wait)
                    continue
                job, compute = self._begin(*wanted, True), pairs.computation(1)
                self._second_is_busy = True
            try:
                self._finish(job, compute)
            finally:
                with self._news:
                    self._second_is_busy = False
                    self._news.notify_all()

    def _seconds_apart(self) -> float:
        """How long to wait before the next frame may begin beside the last one."""
        assert self._begun is not None
        return max(0.0, self._begun.begun + APART * self._seconds - time.monotonic())

    def _begin(self, frame: Frame, request: Request, paired: bool) -> _Job:
        order = self._begun.order + 1 if self._begun else 0
        self._begun = _Job(order, frame, request, time.monotonic(), paired)
        return self._begun

    def _finish(self, job: _Job, compute: Callable[[Frame, Request], Result]) -> None:
        """Compute a job, and deliver its result or error, unless a newer one has been."""
        result, failure = None, ""
        try:
            result = compute(job.frame, job.request)
        except Exception as error:  # the viewer keeps running, and the next frame may work
            failure = _describe(error)
        with self._news:  # atomically: nobody sees a failure while the worker still counts as busy
            if self._first is job:
                self._first = None
            if self._pairs is not None and result is not None:
                self._pairs.saw(result, job.paired)
            if self._done is not None and self._done.order > job.order:
                return
            self._seconds = time.monotonic() - job.begun
            if result is not None:
                self._results.put(result)
            self._trouble = self._failure = failure
            self._done = job
        self._changed()

    def _wanted_after(self, job: _Job | None) -> tuple[Frame, Request] | None:
        """The newest frame and request, unless they are those of a job."""
        if self._frame is None or self._request is None:
            return None
        wanted = self._frame.number, self._request
        if job is not None and (job.frame.number, job.request) == wanted:
            return None
        return self._frame, self._request


def _lower_priority() -> None:
    """Lower this thread's priority below that of the front end, so that keys stay responsive.

    On Linux, niceness is per thread and inherited by the threads that it starts, such as OpenMP's.
    It has no effect while cores are free.
    """
    if sys.platform.startswith("linux"):
        thread = threading.get_native_id()
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(19, now + NICE))


def _describe(error: Exception) -> str:
    log.debug("the worker had an error", exc_info=error)
    return in_words(error)
