"""Worker processes of this machine: how they start and end with us, and what they do.

What the parent does as it starts one, and, in `live_with_parent`, what each does first.

`serve` is the whole life of a local worker. Its imports are few, since every worker waits for them
before it knows what it is to do.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from deepvis_caffe.cluster.failure import Failure, in_task

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


# What a worker sends: (READY, None), (TOLD, message), (DONE, result) or (FAILED, Failure).
READY, TOLD, DONE, FAILED = "ready", "told", "done", "failed"


def serve(connection: Connection, threads: int) -> None:
    """Work until the other end hangs up.

    Parameters
    ----------
    connection
        Brings the pickled ``(make_state, work)``, then tasks; takes what they tell and give.
    threads
        How many to compute with.
    """
    live_with_parent()
    try:
        job = connection.recv_bytes()
        try:
            make_state, work = pickle.loads(job)
            state = make_state()
        except Exception as error:
            connection.send((FAILED, Failure.of(error, "as a worker made ready")))
            return
        use_threads(threads)
        connection.send((READY, None))
        while True:
            task = connection.recv()
            _answer(connection, work, state, task)
    except (EOFError, OSError):  # the parent has hung up
        return


def _answer(
    connection: Connection, work: Callable[[Any, Any, Any], Any], state: Any, task: Any
) -> None:
    try:
        answer = DONE, work(state, task, lambda message: connection.send((TOLD, message)))
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        data = pickle.dumps((FAILED, Failure.of(error, in_task(task))))
    connection.send_bytes(data)


def use_threads(count: int) -> None:
    """Have torch compute with that many threads, if it is what computes."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
