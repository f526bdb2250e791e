"""Work in child processes that may hang, run out of memory, or abort."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tools.corpus.record import one_line

Work = Callable[..., None]

GRACE = 10  # seconds past the limit after which a child exits if its parent has not killed it


class Stopped(Exception):
    """No more children are started."""


@dataclass(frozen=True)
class Limits:
    """The limits of a child.

    Attributes
    ----------
    seconds
        Wall-clock time after which it is killed.
    memory
        Bytes of data that it may map. Further allocations fail, so that it raises its own error.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class Ended:
    """What a child reported, and how it ended.

    Attributes
    ----------
    told
        The last value of each field.
    seconds, memory
        Wall-clock time, and peak resident memory in MiB.
    fault
        Why it ended early, as text; empty if it did not.
    """

    told: dict[str, Any]
    seconds: float
    memory: float
    fault: str


class Children:
    """Starts children, each forked from one process that has imported what they need.

    Methods may be called from several threads.

    Parameters
    ----------
    preload
        The modules to import once for all of them.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._alive: set[Any] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, limits: Limits, work: Work, *args: Any) -> Ended:
        """Call ``work(*args, tell)`` in a child with limits, and wait until it ends.

        ``tell(field=value, ...)`` may be called any number of times.

        Raises
        ------
        Stopped
            After :meth:`stop`.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        with tempfile.NamedTemporaryFile(prefix="corpus-", suffix=".log") as log:
            process = self._context.Process(
                target=_in_child, args=(work, args, sender, log.name, limits)
            )
            with self._lock:
                if self._stopped:
                    raise Stopped
                process.start()
                self._alive.add(process)
            sender.close()
            in_time = False
            try:
                told, in_time, seconds = _listen(receiver, limits.seconds)
                peak = told.pop("memory", 0.0)
                memory = peak if in_time else max(peak, peak_memory(process.pid))
            finally:
                with self._lock:
                    self._alive.discard(process)
                    if not in_time:
                        _kill(process)
                process.join()
                receiver.close()
            said = Path(log.name).read_text(encoding="utf-8", errors="replace")
        fault = f"no end after {limits.seconds:g} s"
        if in_time:
            fault = how_it_ended(process.exitcode, said) if process.exitcode else ""
        return Ended(told, seconds, memory, fault)

    def stop(self) -> None:
        """Kill all children, and start no more."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                _kill(process)


def _listen(receiver: Connection, limit: float) -> tuple[dict[str, Any], bool, float]:
    """What a child reports until it ends, whether it ends in time, and how long it takes."""
    told: dict[str, Any] = {}
    began = time.monotonic()
    try:
        told.update(receiver.recv())  # it has started, which takes the first one its imports
        began = time.monotonic()
        while receiver.poll(max(0, began + limit - time.monotonic())):
            told.update(receiver.recv())
        return told, False, time.monotonic() - began
    except EOFError:
        return told, True, time.monotonic() - began


def peak_memory(pid: int | None = None) -> float:
    """Peak resident memory of a process in MiB, by default of this one; 0 if it has exited."""
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    lines = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return next((int(line.split()[1]) / 1024 for line in lines), 0.0)


def how_it_ended(code: int, log: str) -> str:
    """Why a process died: its exit code as text, and the last lines of its log.

    Of glog's output, that is the line of the fatal check, not the stack trace below it.
    """
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    lines = [line for line in log.splitlines() if line.strip()]
    # F0102 03:04:05.678 4321 file.cpp:12] Check failed: ...
    fatal = [line.split("] ", 1)[-1] for line in lines if re.match(r"F\d{4,8} ", line)]
    last = (fatal or lines)[-1:]
    return one_line(f"the process died of {how}{''.join(f': {line}' for line in last)}")


def _in_child(
    work: Work, args: Sequence[Any], sender: Connection, log: str, limits: Limits
) -> None:
    os.setsid()  # own process group, to kill it with its children; Ctrl-C goes to the parent only
    signal.alarm(math.ceil(limits.seconds) + GRACE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    with open(log, "ab") as file:  # noqa: PTH123 (only its descriptor is needed)
        os.dup2(file.fileno(), 2)

    def tell(**found: Any) -> None:
        sender.send({**found, "memory": peak_memory()})

    tell()  # reports the start
    work(*args, tell)
    tell()


def _kill(process: Any) -> None:
    if process.is_alive():
        with suppress(ProcessLookupError):  # it has no process group of its own yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
