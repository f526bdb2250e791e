"""An end in order where somebody ends the process: what it has begun is closed, not cut off."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that is gone, unwind the block as Ctrl-C does.

    The process then exits with 128 and the signal's number, as a shell would say of it. A signal
    that is ignored, as under nohup, or that somebody else handles stays as it is. For the main
    thread alone.
    """
    before = {}
    for number, handler in ((signal.SIGTERM, _unwind), (SIGHUP, _terminate)):
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _unwind(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)  # whose handler may be a server's, which ends in order
