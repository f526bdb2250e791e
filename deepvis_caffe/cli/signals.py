"""Signals that end a command cleanly: SIGTERM, and SIGHUP from a closed terminal.

Batch schedulers such as Slurm send them before they kill a job.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


class Terminated(KeyboardInterrupt):
    """The process was asked to end; handled wherever Ctrl-C is.

    Attributes
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Make the signals unwind the block as Ctrl-C does, with `Terminated`.

    Signals that are ignored, as under nohup, or have another handler are left alone. Only the main
    thread can handle signals; in any other, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
    raise Terminated(number)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)  # a server may have a handler for it
