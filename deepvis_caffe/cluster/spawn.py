"""Processes of this machine that end with us: ``with quiet_start(environment): process.start()``.

What the parent does as it starts one, and, in `live_with_parent`, what each does first.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait

# A process started by fork would share the parent's CUDA context and OpenMP threads, which die.
SPAWN = get_context("spawn")

_starting = threading.Lock()


@contextmanager
def quiet_start(environment: Mapping[str, str]) -> Iterator[None]:
    """Processes that are started meanwhile get these variables, and do not hear Ctrl-C."""
    with _starting, _environment(environment), _deaf_to_interrupts():
        yield


def live_with_parent() -> None:
    """The first thing that such a process does.

    It leaves Ctrl-C to the parent, ends where the parent was killed and could not stop it, and logs
    no warnings: the parent has the same net, and has said them once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.WARNING)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile, before their first import."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started meanwhile do not hear Ctrl-C, not even before their first line.

    A terminal sends it to them too, and Python would print a traceback for each. A blocked signal
    is inherited; ours comes when the block is lifted.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows they ignore it once they run
        yield
        return
    resource_tracker.ensure_running()  # its own start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
