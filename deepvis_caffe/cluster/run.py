"""Map tasks over one process or many: ``(make_state, work, tasks, where) -> (index, result), ...``.

The same results come from everywhere, in the order in which they are ready. Whoever asks for them
is the only one who writes files, so that workers need no folder that can be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from deepvis_caffe.cluster.failure import name_task
from deepvis_caffe.errors import SettingsError


@dataclass(frozen=True)
class Serial:
    """In this process, one after another."""


@dataclass(frozen=True)
class LocalProcesses:
    """In processes of this machine, which end with the work.

    Parameters
    ----------
    count
        Number of processes; each builds its own state.
    threads
        Threads that each computes with; by default an equal share of the cores.
    gpus
        Devices to deal out, one to a process in turn, as ``CUDA_VISIBLE_DEVICES`` names them; see
        `deepvis_caffe.cluster.cores.find_gpus`. Where there are none, processes see what we see.
    tries
        How often a task may lose the process that runs it.

    Raises
    ------
    SettingsError
        A number under 1.
    """

    count: int
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    tries: int = 3

    def __post_init__(self) -> None:
        for name in ("count", "threads", "tries"):
            _at_least_one(name, getattr(self, name))


@dataclass(frozen=True)
class DaskCluster:
    """On the workers of a Dask cluster that runs already.

    Parameters
    ----------
    address
        The scheduler's, for example ``tcp://10.0.0.1:8786``.
    timeout
        Seconds to wait for the scheduler.
    in_flight
        The most tasks that are on the cluster at a time, so that results do not pile up there; by
        default two a worker, and at least 8.

    Raises
    ------
    SettingsError
        A number under 1, or an address that is none.
    """

    address: str
    timeout: float = 10.0
    in_flight: int | None = None

    def __post_init__(self) -> None:
        _at_least_one("in_flight", self.in_flight)
        if not re.fullmatch(
            r"((tcp|tls|ws|wss|ucx)://)?(\[[\da-fA-F:.]+\]|[^/:\s]+):\d+/?", self.address
        ):
            raise SettingsError(
                f"a scheduler's address is as tcp://10.0.0.1:8786; got {self.address!r}"
            )


Where = Serial | LocalProcesses | DaskCluster


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise SettingsError(f"{name} must be at least 1; got {value}")


State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")

Tell = Callable[[Any], None]
Heard = Callable[[int, Any], None]


def run_tasks(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Tell], Result],
    tasks: Iterable[Task],
    where: Where = Serial(),  # frozen
    heard: Heard | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Run every task, and yield each result as soon as it is there.

    Close the iterator, as `contextlib.closing` does, and everything still running is stopped; an
    exception in the middle of it, `KeyboardInterrupt` too, does the same.

    Parameters
    ----------
    make_state
        Makes what the tasks share, for example the net: once in each process, which keeps it. In
        this process, where it has a method `close`, that is called at the end; others just end.
    work
        ``work(state, task, tell) -> result``. ``tell(message)`` says how far it is: see `heard`.
        Let it be called often, since on a cluster it is there that a stopped run ends.
    tasks
        Taken one by one as there is room. ``str(task)`` names it where something goes wrong.
        Anywhere but in this process, both functions, tasks and results must be picklable.
    where
        `Serial`, `LocalProcesses` or `DaskCluster`.
    heard
        ``heard(index, message)`` gets what the tasks tell, but for those on a Dask cluster. A task
        whose process died starts again.

    Yields
    ------
    tuple of int and result
        The task's place in `tasks`, from 0, and what `work` returned for it.

    Raises
    ------
    ClusterError
        A task's process died too often; the cluster cannot be reached or runs another version.
    Exception
        What `make_state` or `work` raised, with a note that names the task. Other tasks are
        stopped.
    """
    hear = heard or _ignore
    if isinstance(where, Serial):
        return _run_here(make_state, work, tasks, hear)
    if isinstance(where, LocalProcesses):
        from deepvis_caffe.cluster.local import run_local

        return run_local(make_state, work, tasks, where, hear)
    from deepvis_caffe.cluster.remote import run_remote

    return run_remote(make_state, work, tasks, where)


def _run_here(
    make_state: Callable[[], State],
    work: Callable[[State, Task, Tell], Result],
    tasks: Iterable[Task],
    hear: Heard,
) -> Generator[tuple[int, Result], None, None]:
    state = make_state()
    try:
        for index, task in enumerate(tasks):
            try:
                result = work(state, task, partial(hear, index))
            except Exception as error:
                name_task(error, task)
                raise
            yield index, result
    finally:
        close = getattr(state, "close", None)
        if close is not None:
            close()


def _ignore(index: int, message: Any) -> None:
    pass
