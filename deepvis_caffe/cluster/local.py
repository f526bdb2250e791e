"""Tasks in worker processes on this machine, each with its own pipe and one task at a time.

When one process of a `concurrent.futures` pool dies, the whole pool breaks and does not say which
task that process had. Here a process that dies is replaced, and its task is retried.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from typing import Any
from weakref import WeakSet

import cloudpickle

from deepvis_caffe.cluster.cores import share, threads_each, waiting
from deepvis_caffe.cluster.process import (
    DONE,
    FAILED,
    READY,
    REPORT,
    SPAWN,
    serve,
    starting_workers,
)
from deepvis_caffe.cluster.where import LocalProcesses, OnReport
from deepvis_caffe.errors import ClusterError

DIED = "died"  # stands for a message when the pipe has closed
GRACE = 5.0  # seconds that a process may take to end after its pipe has closed


def run_local(
    make_state: Callable[[], Any],
    work: Callable[[Any, Any, Any], Any],
    tasks: Iterable[Any],
    where: LocalProcesses,
    on_report: OnReport,
) -> Generator[tuple[int, Any], None, None]:
    """`deepvis_caffe.cluster.run_tasks` on `LocalProcesses`."""
    job = cloudpickle.dumps((make_state, work))
    threads = where.threads or threads_each(where.count)
    queue = _Queue(tasks)
    workers: dict[Connection, _Worker] = {}
    spinning = waiting(os.environ)  # once, so that the workers' own load does not count

    def start_worker(number: int) -> None:
        if (ticket := queue.next()) is None:
            return
        environment = {**spinning, **share(number, threads, where.gpus)}
        worker = _Worker(number, environment, threads, job, ticket)
        workers[worker.connection] = worker

    try:
        for number in range(where.count):
            start_worker(number)
        while workers:
            for connection in wait(list(workers)):
                worker = workers[connection]  # type: ignore[index]  # only pipes are waited for
                ticket = worker.ticket
                kind, content = worker.receive()
                if kind == REPORT:
                    on_report(ticket.index, content)
                elif kind == FAILED:
                    raise content.exception()
                elif kind == DONE:
                    # Before the yield, so that the worker does not wait for the caller.
                    if not worker.take(queue.next()):
                        del workers[worker.connection]
                    yield ticket.index, content
                elif kind == DIED:
                    del workers[worker.connection]
                    queue.put_back(ticket, where.tries, worker.how_it_died())
                    start_worker(worker.number)
    finally:
        for worker in workers.values():
            worker.stop()


@dataclass
class _Ticket:
    """A task, and how many processes have died while they ran it."""

    index: int
    task: Any
    deaths: int = 0


class _Queue:
    """Tasks in order; those to retry come first."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        self._fresh = enumerate(tasks)
        self._again: deque[_Ticket] = deque()

    def next(self) -> _Ticket | None:
        if self._again:
            return self._again.popleft()
        return next((_Ticket(index, task) for index, task in self._fresh), None)

    def put_back(self, ticket: _Ticket, tries: int, how_it_died: str) -> None:
        ticket.deaths += 1
        if ticket.deaths >= tries:
            raise ClusterError(
                f"the task {ticket.task} cannot be done: {ticket.deaths} worker processes in turn "
                f"died of it, the last one {how_it_died}"
            )
        self._again.append(ticket)


class _Worker:
    """A worker process, our end of its pipe, and its current task."""

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
        with starting_workers(environment):
            self._process.start()
        _stop_all_at_exit()
        _alive.add(self)
        theirs.close()  # so that the pipe closes when the process ends
        self._send(lambda: self.connection.send_bytes(job))
        self.take(ticket)

    def take(self, ticket: _Ticket | None) -> bool:
        """Begin a task and return True; without one, end the process and return False."""
        if ticket is None:
            self.stop()
            return False
        self.ticket = ticket
        self._send(lambda: self.connection.send_bytes(cloudpickle.dumps(ticket.task)))
        return True

    def receive(self) -> tuple[str, Any]:
        """The next message, or (DIED, None)."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            return DIED, None
        self.ready |= kind == READY
        return kind, content

    def stop(self) -> None:
        """Kill the process; workers write no files, so none is left incomplete."""
        _alive.discard(self)
        self._process.kill()
        self._process.join()
        self.connection.close()

    def how_it_died(self) -> str:
        """How the process ended, as text; call it after receiving (DIED, None)."""
        self._process.join(GRACE)
        self.stop()
        code = self._process.exitcode or 0
        how = f"with exit code {code}"
        if code == -signal.SIGKILL:
            how = "killed (signal 9), as by the kernel when memory runs out: try fewer workers"
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

    def _send(self, send: Callable[[], None]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the next `receive` reports it
            send()


_alive: WeakSet[_Worker] = WeakSet()


@cache
def _stop_all_at_exit() -> None:
    """Stop the workers of unfinished runs when this process exits.

    Otherwise Python would wait for them: they cannot be daemons, because they start processes of
    their own to decode images. Exit handlers run in reverse order of registration, and
    multiprocessing registered the one that waits before ours.
    """
    atexit.register(_stop_all)


def _stop_all() -> None:
    for worker in list(_alive):
        worker.stop()
