"""What a worker process does: make the state once, then one task after another.

`serve` is the whole life of a local worker. Its imports are few, since every worker waits for them
before it knows what it is to do.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from deepvis_caffe.cluster.failure import Failure, in_task
from deepvis_caffe.cluster.spawn import live_with_parent

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
