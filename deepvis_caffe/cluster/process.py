"""Worker processes on this machine: how the parent starts one, and what the worker runs.

`serve` is the main function of a worker of `deepvis_caffe.cluster.local`. This module imports
little, because every worker imports it before it can do anything.
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

import cloudpickle

from deepvis_caffe.cluster.failure import Failure, in_task
from deepvis_caffe.memory import keep_freed_memory

# A forked process would inherit the parent's CUDA context and OpenMP threads, and fail on them.
SPAWN = get_context("spawn")

# What a worker sends: (READY, None), (REPORT, message), (DONE, result) or (FAILED, Failure).
READY, REPORT, DONE, FAILED = "ready", "report", "done", "failed"

_start_lock = threading.Lock()


# -- in the parent ------------------------------------------------------------------------------


@contextmanager
def starting_workers(environment: Mapping[str, str]) -> Iterator[None]:
    """Within the block, new processes inherit these variables and do not receive Ctrl-C.

    The variables are set in this process, because a spawned process may import numpy or torch,
    which read them, before its own code runs.
    """
    with _start_lock, _environment(environment), _interrupts_blocked():
        yield


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within the block."""
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
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C (SIGINT) within the block, for this thread and for new processes.

    A terminal sends it to every process, and Python would print a traceback for each. New processes
    inherit the signal mask, so they are not interrupted even while they start. This process
    receives a pending signal when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows workers ignore it once they run
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the worker ------------------------------------------------------------------------------


def live_with_parent() -> None:
    """Leave Ctrl-C and warnings to the parent, and exit when it exits; a worker calls this first.

    The parent may be killed before it can stop its workers. Warnings are not logged, because the
    parent loads the same net and has already logged them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.WARNING)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def serve(connection: Connection, threads: int) -> None:
    """Run tasks until the other end of the pipe is closed.

    Parameters
    ----------
    connection
        Receives the pickled ``(make_state, work)``, then pickled tasks; sends reports and results.
    threads
        How many threads to compute with.
    """
    live_with_parent()
    keep_freed_memory()
    try:
        job = connection.recv_bytes()
        try:
            make_state, work = pickle.loads(job)
            state = make_state()
        except Exception as error:
            connection.send((FAILED, Failure.of(error, "while a worker was starting")))
            return
        use_threads(threads)
        connection.send((READY, None))
        while True:
            task = pickle.loads(connection.recv_bytes())
            _answer(connection, work, state, task)
    except (EOFError, OSError):  # the parent has closed its end
        return


def _answer(
    connection: Connection, work: Callable[[Any, Any, Any], Any], state: Any, task: Any
) -> None:
    try:
        answer = DONE, work(state, task, lambda message: connection.send((REPORT, message)))
        data = cloudpickle.dumps(answer)
    except Exception as error:
        data = pickle.dumps((FAILED, Failure.of(error, in_task(task))))
    connection.send_bytes(data)


def use_threads(count: int) -> None:
    """Set torch's number of threads, if torch is loaded."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
