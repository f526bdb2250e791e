"""Tasks in processes of this machine: a pipe to each, one task at a time in each.

A pool of `concurrent.futures` is broken as a whole by the death of one process, and does not say
which task that one had. So each process has a pipe of its own here, and whoever dies is replaced.
"""

from __future__ import annotations

import atexit
import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any
from weakref import WeakSet

from deepvis_caffe.cluster.cores import share, threads_each
from deepvis_caffe.cluster.process import DONE, FAILED, READY, SPAWN, TOLD, quiet_start, serve
from deepvis_caffe.cluster.run import LocalProcesses
from deepvis_caffe.errors import ClusterError

GONE = "gone"  # beside what a worker sends: it has died
GRACE = 5.0  # seconds from the end of a pipe to the end of its process


def run_local(
    make_state: Callable[[], Any],
    work: Callable[[Any, Any, Any], Any],
    tasks: Iterable[Any],
    where: LocalProcesses,
    hear: Callable[[int, Any], None],
) -> Generator[tuple[int, Any], None, None]:
    """As `deepvis_caffe.cluster.run_tasks` on `LocalProcesses`."""
    job = pickle.dumps((make_state, work))
    threads = where.threads or threads_each(where.count)
    queue = _Queue(tasks)
    workers: dict[Connection, _Worker] = {}

    def hire(number: int) -> None:
        if (ticket := queue.next()) is None:
            return
        environment = share(number, threads, where.gpus)
        worker = _Worker(number, environment, threads, job, ticket)
        workers[worker.connection] = worker

    try:
        for number in range(where.count):
            hire(number)
        while workers:
            for connection in wait(list(workers)):
                worker = workers[connection]  # type: ignore[index]  # only pipes are waited for
                ticket = worker.ticket
                kind, content = worker.receive()
                if kind == TOLD:
                    hear(ticket.index, content)
                elif kind == FAILED:
                    raise content.exception()
                elif kind == DONE:
                    # Before the result is looked at: the worker need not wait for that.
                    if not worker.take(queue.next()):
                        del workers[worker.connection]
                    yield ticket.index, content
                elif kind == GONE:
                    del workers[worker.connection]
                    queue.put_back(ticket, where.tries, worker.last_words())
                    hire(worker.number)
    finally:
        for worker in workers.values():
            worker.stop()


@dataclass
class _Ticket:
    """A task, and how many processes have died of it."""

    index: int
    task: Any
    deaths: int = 0


class _Queue:
    """Tasks in order, those that lost their process first."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        self._fresh = enumerate(tasks)
        self._again: deque[_Ticket] = deque()

    def next(self) -> _Ticket | None:
        if self._again:
            return self._again.popleft()
        return next((_Ticket(index, task) for index, task in self._fresh), None)

    def put_back(self, ticket: _Ticket, tries: int, last_words: str) -> None:
        ticket.deaths += 1
        if ticket.deaths >= tries:
            raise ClusterError(
                f"the task {ticket.task} cannot be done: {ticket.deaths} worker processes in turn "
                f"died of it, the last one {last_words}"
            )
        self._again.append(ticket)


class _Worker:
    """A process, our end of its pipe, and the task that it has."""

    def __init__(
        self,
        number: int,
        environment: Mapping[str, str],
        threads: int,
        job: bytes,
        ticket: _Ticket,
    ) -> None:
        self.number, self.ready = number, False
        self.connection, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(
            target=serve, args=(theirs, threads), name=f"deepvis worker {number}"
        )
        with quiet_start(environment):
            self._process.start()
        _alive.add(self)
        theirs.close()  # so that the pipe ends when the process does
        self._say(lambda: self.connection.send_bytes(job))
        self.take(ticket)

    def take(self, ticket: _Ticket | None) -> bool:
        """Begin a task; without one, end."""
        if ticket is None:
            self.stop()
            return False
        self.ticket = ticket
        self._say(lambda: self.connection.send(ticket.task))
        return True

    def receive(self) -> tuple[str, Any]:
        """What it sends next, or (GONE, None)."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            return GONE, None
        self.ready |= kind == READY
        return kind, content

    def stop(self) -> None:
        """End it at once: it has written nothing that could be left half done."""
        _alive.discard(self)
        self._process.kill()
        self._process.join()
        self.connection.close()

    def last_words(self) -> str:
        """How it died, once it has."""
        self._process.join(GRACE)
        self.stop()
        code = self._process.exitcode or 0
        how = f"with exit code {code}"
        if code == -signal.SIGKILL:
            how = "killed (signal 9), as the kernel does where memory runs out: try fewer workers"
        elif code < 0:
            how = f"of signal {-code} ({signal.strsignal(-code)})"
        when = (
            ""
            if self.ready
            else (
                " before it was ready (in a script of your own, start the work under "
                "`if __name__ == '__main__':`)"
            )
        )
        return how + when

    def _say(self, send: Callable[[], None]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the next `receive` says so
            send()


# No daemons, which could not have processes of their own, for decoding. So Python would wait for
# them at its end, where a run was neither finished nor closed.
_alive: WeakSet[_Worker] = WeakSet()


@atexit.register
def _stop_all() -> None:
    for worker in list(_alive):
        worker.stop()
