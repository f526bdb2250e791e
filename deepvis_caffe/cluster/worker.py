"""What a worker process does: make the state once, then one task after another.

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
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from deepvis_caffe.cluster.failure import Failure, in_task

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.WARNING)  # the parent has the same net, and has said it all once
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


def _end_with_parent() -> None:
    """Leave nothing running where the parent was killed and could not stop us."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
