"""The worker thread, which owns the net: the newest frame and request first, then idle work.

It never blocks callers. Only the newest frame and the newest request are kept, and results go into
a latest-value slot. A single thread runs the net, because pycaffe's CPU or GPU mode is per thread.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from deepvis_caffe.errors import in_words
from deepvis_caffe.viewer.state.request import Frame, Request, Result
from deepvis_caffe.viewer.threads import Background, Newest

log = logging.getLogger(__name__)

Pause = Callable[[], bool]

# By how much the priority of the net's threads is lowered, see nice(2): enough to keep keys
# responsive, but not so much that other programs take the net's cores.
NICE = 2
IDLE = 0.2  # seconds between two polls for idle work


class Idle(Protocol):
    """Work to be done between frames."""

    def __call__(self, between: Pause) -> bool:
        """Work until there is nothing left to do, or until `between` returns True.

        `between` must be called after every step. Returns whether anything was done.
        """


class Worker:
    """Computes results for the newest frame on a thread of its own.

    Parameters
    ----------
    compute
        ``(frame, request) -> result``; called on the worker thread only.
    results
        The slot for results.
    changed
        Called on the worker thread when there is a new result or an error.
    idle
        Work to be done between frames, if any. It calls the function that it is given between its
        steps; a frame that has arrived meanwhile is computed within that call.
    prepare
        Called first, on the worker thread, at normal priority; it may take long. If it fails,
        nothing is computed.

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
    ) -> None:
        self._compute, self._results, self._changed, self._idle = compute, results, changed, idle
        self._prepare = prepare
        self.error: Exception | None = None
        self._thread = Background("worker", self._run)
        self._news = self._thread.news
        self._frame: Frame | None = None
        self._request: Request | None = None
        self._done: tuple[int, Request] | None = None
        self._trouble = self._failure = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def show(self, frame: Frame) -> None:
        """Set the newest frame."""
        with self._news:
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
            return self._waiting() is not None

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
                if not worked and not self._thread.closing and self._waiting() is None:
                    self._news.wait(IDLE if self._idle else None)

    def _between(self) -> bool:
        """Compute what has arrived meanwhile; return whether idle work should stop."""
        while not self._thread.closing and self._serve():
            pass
        return self._thread.closing

    def _serve(self) -> bool:
        """Compute the newest frame and request if they are pending; return whether they were."""
        with self._news:
            job = self._waiting()
        if job is None:
            return False
        frame, request = job
        failure = ""
        try:
            self._results.put(self._compute(frame, request))
        except Exception as error:  # the viewer keeps running, and the next frame may work
            failure = _describe(error)
        with self._news:  # atomically: nobody sees a failure while the worker still counts as busy
            self._trouble = self._failure = failure
            self._done = (frame.number, request)
        self._changed()
        return True

    def _waiting(self) -> tuple[Frame, Request] | None:
        if self._frame is None or self._request is None:
            return None
        job = (self._frame.number, self._request)
        return None if job == self._done else (self._frame, self._request)


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
